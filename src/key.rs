//! `glimpse key NAME`: a new key for a client of the API.

use std::{io::Write, process::ExitCode};

use glimpse_api::{KeyName, NewKey};

/// Flags of `glimpse key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the key. Its jobs belong to the tenant of this name.
    name: KeyName,
}

/// Prints a new key, which nothing keeps, and its entry in the keys file, which has its hash.
pub fn run(args: Args) -> ExitCode {
    let key = NewKey::random(args.name);
    let said = format!(
        "{}\n\n# The key is shown only this once. Add this to the file of --keys-file, then send SIGHUP to the API:\n{}",
        key.key(),
        key.entry()
    );
    match std::io::stdout().lock().write_all(said.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("glimpse: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
