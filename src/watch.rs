//! `glimpse watch`: joins a job of a server.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    id::JobId,
    shutdown::{self, Shutdown},
};

use crate::generate::{EXIT_CODES, Failure, Output, PreviewDir, Server, Shown, View, say};

/// Flags of `glimpse watch`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// The job, as `glimpse jobs` shows it.
    id: JobId,
    /// The file to write the finished picture to. Its extension should be that of the picture's format; several pictures are
    /// numbered: `fox-1.png`, `fox-2.png`. `-` is standard output. Without this no picture is written.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A folder for previews, written as they arrive: `preview-STEP.jpg`.
    #[arg(long, value_name = "DIR")]
    preview_dir: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    /// The server that has the job.
    #[arg(long, env = "GLIMPSE_SERVER", value_name = "URL")]
    server: String,
    /// The key for the server, if it has keys; better in the variable, because other users see arguments.
    #[arg(long, env = "GLIMPSE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
}

/// Shows the job until it ends; see [`EXIT_CODES`]. Ctrl-C ends the view, and not the job.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    match watch(args, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted(signal)) => shutdown::leave(signal.exit_code()),
        Err(failure) => failure.exit_code(),
    }
}

/// A failure has been shown.
async fn watch(args: Args, shutdown: &Shutdown) -> Result<(), Failure> {
    let (server, folder) = begin(&args).inspect_err(|failure| say(format_args!("glimpse: {failure}")))?;
    let view = View::new(args.shown, 1);
    let job = view.job(None, folder);
    let id = args.id.to_string();
    job.is(&id);
    let followed = async {
        let made = server.follow(&id, &job).await?;
        let files = match &args.output {
            Some(path) => Output::of_finished(path, Some(&made.content_type), made.encoded.len())?
                .write(&made.encoded)?,
            None => Vec::new(),
        };
        job.completed(&made, &files);
        Ok(())
    };
    tokio::select! {
        followed = followed => followed.inspect_err(|failure| job.failed(failure)),
        signal = shutdown.requested() => {
            view.say(&format!(
                "glimpse: the job goes on; `glimpse watch {id}` joins it again, `glimpse cancel {id}` ends it"
            ));
            Err(Failure::Interrupted(signal))
        }
    }
}

/// The server, and the folder for previews.
fn begin(args: &Args) -> Result<(Server, Option<PreviewDir>), Failure> {
    let server = Server::new(&args.server, args.key.as_deref())?;
    if let Some(path) = &args.output {
        args.shown.check(path)?;
        // The picture's format is known at the end.
        Output::of_finished(path, None, 1)?;
    }
    let folder = args.preview_dir.clone().map(PreviewDir::new).transpose()?;
    Ok((server, folder))
}
