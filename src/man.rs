//! `glimpse man`: the manual pages of the commands.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Command;
use clap_mangen::Man;

use crate::generate::say;

/// Flags of `glimpse man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command whose page is printed. [default: the page of glimpse itself]
    #[arg(conflicts_with = "dir")]
    command: Option<String>,
    /// Writes all pages into this folder instead: `glimpse.1`, `glimpse-generate.1` and so on.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a page, or writes all of them.
pub fn run(args: Args, program: Command) -> ExitCode {
    let mut program = program.disable_help_subcommand(true);
    if let Some(dir) = args.dir {
        return match std::fs::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(program, &dir)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(format_args!(
                    "glimpse: --dir {}: {error}; name a folder that can be written",
                    dir.display()
                ));
                ExitCode::from(2)
            }
        };
    }
    program.build();
    let command = match &args.command {
        None => &program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command,
            None => {
                say(format_args!("glimpse: there is no command {name}; `glimpse --help` lists them"));
                return ExitCode::from(2);
            }
        },
    };
    let mut page = Vec::new();
    if let Err(error) = Man::new(command.clone()).render(&mut page) {
        say(format_args!("glimpse: cannot make the page: {error}"));
        return ExitCode::FAILURE;
    }
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = out.write_all(&page).and_then(|()| out.flush());
    ExitCode::SUCCESS
}
