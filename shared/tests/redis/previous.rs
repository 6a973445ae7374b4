//! A process of the release before, which has the recorded scripts of that release.

use glimpse_shared::id::JobId;
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{app, plain},
    recorded::Recorded,
};
use serde_json::Value;

use crate::helpers::key;

/// The release.
pub const PREVIOUS: &str = "0.1.0";

/// A process of the release before: it has the scripts of that release alone.
pub struct Old<'a> {
    pub recorded: Recorded,
    server: &'a RedisServer,
}

impl<'a> Old<'a> {
    pub fn on(server: &'a RedisServer) -> Self {
        Self { recorded: Recorded::of(PREVIOUS), server }
    }

    /// Runs a script with the keys and arguments of a recorded call, for this job and with these arguments, which count
    /// from 1 as in the headers of scripts.
    pub fn run(&self, name: &str, id: JobId, own: &[(usize, &str)]) -> Reply {
        let script = self.recorded.script(name);
        let keys: Vec<_> = script.keys.iter().map(|old| renamed(old, id)).collect();
        let mut args: Vec<_> = script.args.iter().map(|old| renamed(old, id)).collect();
        for (at, value) in own {
            args[at - 1] = (*value).to_owned();
        }
        let count = keys.len().to_string();
        let words =
            ["EVAL", &script.code, &count].into_iter().chain(keys.iter().chain(&args).map(String::as_str));
        self.server.ask(&words.collect::<Vec<_>>())
    }

    /// Claims a job for the worker `old`.
    pub fn claim(&self, number: u64) -> Reply {
        let capabilities = plain();
        let own = [
            (2, "old"),
            (3, &number.to_string()),
            (9, ""),
            (12, &capabilities.name()),
            (13, &capabilities.to_string()),
        ];
        self.run("claim", JobId::new(&app()), &own)
    }
}

/// A key, or the beginning of keys, of a recorded call: of [`app`] and of this job.
fn renamed(old: &str, id: JobId) -> String {
    let Some(rest) = old.strip_prefix("glimpse:{") else { return old.to_owned() };
    let Some((_, rest)) = rest.split_once("}:") else { return old.to_owned() };
    let (kind, name) = rest.split_once(':').unwrap_or((rest, ""));
    let name = match kind {
        _ if name.is_empty() => String::new(),
        "job" | "log" | "ckpt" => id.to_string(),
        "queue" | "wake" | "looking" | "pace" | "fair" => {
            let class = name.split_once(':').map(|(_, class)| format!(":{class}")).unwrap_or_default();
            format!("{}{class}", app())
        }
        "claim" => "old".to_owned(),
        _ => name.to_owned(),
    };
    key(&match rest.contains(':') {
        true => format!("{kind}:{name}"),
        false => kind.to_owned(),
    })
}

/// The texts of a reply, which must not be an error.
pub fn texts(reply: &Reply) -> Vec<&str> {
    match reply {
        Reply::Error(error) => panic!("{error}"),
        _ => reply.texts(),
    }
}

/// A recorded job that waits: its JSON, as the release before wrote it.
pub fn recorded_job(recorded: &Recorded) -> Value {
    let id = recorded_id(recorded);
    let (_, hash) = recorded.keys().iter().find(|(key, _)| key.ends_with(&format!(":job:{id}"))).unwrap();
    serde_json::from_str(hash["value"]["job"].as_str().unwrap()).unwrap()
}

/// Its id.
pub fn recorded_id(recorded: &Recorded) -> &str {
    recorded.job("queued")
}
