//! `glimpse workers`, `glimpse jobs` and `glimpse cancel`: a server's fleet from the command line.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    id::JobId,
    job::Status,
    shutdown::{self, Shutdown},
};
use serde_json::Value;

use crate::generate::{EXIT_CODES, Failure, Server, say};

/// The server, and what is printed.
#[derive(Debug, clap::Args)]
pub struct At {
    /// The server to ask.
    #[arg(long, env = "GLIMPSE_SERVER", value_name = "URL")]
    server: String,
    /// The key for the server, if it has keys; better in the variable, because other users see arguments.
    #[arg(long, env = "GLIMPSE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// Prints the server's answer in JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Flags of `glimpse workers`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Workers {
    #[command(flatten)]
    at: At,
}

/// Flags of `glimpse jobs`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Jobs {
    /// Only jobs with this status: queued, running, completed, failed or cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,
    /// How many at most, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
    #[command(flatten)]
    at: At,
}

/// Flags of `glimpse cancel`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Cancel {
    /// The job, as `glimpse jobs` shows it.
    id: JobId,
    #[command(flatten)]
    at: At,
}

fn status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| "should be queued, running, completed, failed or cancelled".to_owned())
}

/// A request to a server, and how its answer is shown.
pub enum Ask {
    /// The live workers.
    Workers(Workers),
    /// The newest jobs.
    Jobs(Jobs),
    /// Cancels a job.
    Cancel(Cancel),
}

impl Ask {
    fn at(&self) -> &At {
        match self {
            Self::Workers(Workers { at }) | Self::Jobs(Jobs { at, .. }) | Self::Cancel(Cancel { at, .. }) => {
                at
            }
        }
    }

    async fn answer(&self, server: &Server) -> Result<Value, Failure> {
        match self {
            Self::Workers(_) => server.get("/v1/workers").await,
            Self::Jobs(Jobs { status, limit, .. }) => {
                let status = status.map(|status| format!("&status={}", status.as_str())).unwrap_or_default();
                server.get(&format!("/v1/jobs?limit={limit}{status}")).await
            }
            Self::Cancel(Cancel { id, .. }) => server.delete(&format!("/v1/jobs/{id}")).await,
        }
    }

    fn text(&self, answer: &Value) -> String {
        match self {
            Self::Workers(_) => table(
                ["WORKER", "APP", "STATE", "STEP", "DEVICE", "VERSION", "LAST SEEN"],
                rows(answer, "workers").map(|worker| {
                    let step = match &worker["progress"] {
                        Value::Null => "-".to_owned(),
                        at => format!("{}/{}", at["step"].as_u64().map_or(0, |step| step + 1), at["steps"]),
                    };
                    let [id, app, state, device, version, seen] =
                        ["id", "app", "state", "device", "version", "last_seen"].map(|key| word(worker, key));
                    [id, app, state, step, device, version, seen]
                }),
            ),
            Self::Jobs(_) => table(
                ["JOB", "APP", "STATUS", "CREATED"],
                rows(answer, "jobs")
                    .map(|job| ["id", "app", "status", "created_at"].map(|key| word(job, key))),
            ),
            Self::Cancel(_) => format!("{} {}\n", word(answer, "id"), word(answer, "status")),
        }
    }
}

fn rows<'a>(answer: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    answer[list].as_array().into_iter().flatten()
}

/// A text of the answer, without what could control a terminal.
fn word(value: &Value, key: &str) -> String {
    let text = value[key].as_str().unwrap_or("-");
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Aligned columns under their heads.
fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<_> = [heads.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// Asks the server and prints its answer; see [`EXIT_CODES`].
pub async fn run(ask: Ask, shutdown: &Shutdown) -> ExitCode {
    let asked = async {
        let server = Server::new(&ask.at().server, ask.at().key.as_deref())?;
        ask.answer(&server).await
    };
    let answer = tokio::select! {
        answer = asked => answer,
        signal = shutdown.requested() => shutdown::leave(signal.exit_code()),
    };
    match answer {
        Ok(answer) => {
            let text = if ask.at().json { format!("{answer}\n") } else { ask.text(&answer) };
            let mut out = std::io::stdout().lock();
            // It is no error if nobody reads it.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(format_args!("glimpse: {failure}"));
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at() -> At {
        At { server: "http://localhost:8080".to_owned(), key: None, json: false }
    }

    #[test]
    fn workers_and_jobs_are_tables() {
        let workers = json!({ "workers": [
            { "id": "gpu-1", "app": "glimpse/demo", "state": "busy", "progress": { "step": 4, "steps": 20 },
              "device": "cuda:0", "version": "0.1.0", "last_seen": "2026-01-02T03:04:05Z" },
            { "id": "a", "app": "glimpse/demo", "state": "idle", "device": "cpu\u{1b}[2J", "version": "0.1.0",
              "last_seen": "2026-01-02T03:04:05Z" },
        ]});
        let text = Ask::Workers(Workers { at: at() }).text(&workers);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["gpu-1", "glimpse/demo", "busy", "5/20", "cuda:0", "0.1.0", "2026-01-02T03:04:05Z"]
        );
        assert_eq!(lines[2][3..5], ["-", "cpu[2J"]);
        let jobs = Ask::Jobs(Jobs { status: None, limit: 50, at: at() }).text(&json!({ "jobs": [] }));
        assert_eq!(jobs, "JOB  APP  STATUS  CREATED\n");
    }
}
