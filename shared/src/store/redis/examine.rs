//! What `glimpse doctor` reads from a server: whether it can serve a fleet, and what an operator should know about it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redis::{Value, cmd};

use super::{
    backend::Backend,
    check::check,
    check_error::CheckError,
    greeting::{info_line, introduction},
    process::Process,
    shape::read_as,
};
use crate::id::Micros;

/// The number of round trips that are measured.
const TRIPS: usize = 5;

/// A server that can serve a fleet. In a cluster it is the node of the first partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Kind, version and mode, as `Redis 7.2.4, standalone`.
    pub server: String,
    /// The median time of a round trip.
    pub latency: Duration,
    /// How far its clock is from this machine's.
    pub clock: ClockDifference,
    /// How it keeps its data; `None` if the user may not ask.
    pub persistence: Option<Persistence>,
    /// What should be changed about servers that work.
    pub warnings: Vec<String>,
}

/// A clock compared with this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDifference {
    /// How far.
    pub by: Duration,
    /// Whether it shows a later time.
    pub is_ahead: bool,
}

/// What survives a restart of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It writes each command to a file (`appendonly yes`).
    Log,
    /// It writes all keys to a file now and then.
    Snapshots,
    /// Nothing.
    Nothing,
}

impl Backend {
    /// Runs the check of the start once, and reads what an operator should know.
    pub(super) async fn examine(&self) -> Result<Examined, CheckError> {
        let warnings = check(self, Process::Both).await?;
        let server = self.server_of(&self.first_key()).await;
        let fault = |command: &'static str| {
            let server = server.clone();
            move |failure| CheckError::of_failure(&server, command, &failure)
        };
        let key = self.first_key();
        let hello = self.nodes.query(&key, &cmd("HELLO")).await.map_err(fault("HELLO"))?;
        let mut trips = Vec::with_capacity(TRIPS);
        for _ in 0..TRIPS {
            let sent = Instant::now();
            self.nodes.query(&key, &cmd("PING")).await.map_err(fault("PING"))?;
            trips.push(sent.elapsed());
        }
        trips.sort();
        let theirs = self.nodes.query(&key, &cmd("TIME")).await.map_err(fault("TIME"))?;
        Ok(Examined {
            server: introduction(hello),
            latency: trips[TRIPS / 2],
            clock: difference(theirs, Micros::system())
                .ok_or_else(|| CheckError::Permanent(format!("{server} gives no time to TIME")))?,
            persistence: self.persistence(&key).await,
            warnings: warnings.into_iter().collect(),
        })
    }

    /// `INFO` and `CONFIG` may be forbidden, and no process needs them.
    async fn persistence(&self, key: &str) -> Option<Persistence> {
        let info = self.nodes.query(key, cmd("INFO").arg("persistence")).await.ok()?;
        let info: String = read_as("INFO", info).ok()?;
        if info_line(&info, "aof_enabled")? == "1" {
            return Some(Persistence::Log);
        }
        let save = self.nodes.query(key, cmd("CONFIG").arg("GET").arg("save")).await.ok()?;
        let save: BTreeMap<String, String> = read_as("CONFIG", save).ok()?;
        let rule = save.get("save")?;
        Some(if rule.is_empty() { Persistence::Nothing } else { Persistence::Snapshots })
    }
}

/// Reads the reply of `TIME`: seconds and microseconds.
fn difference(theirs: Value, ours: Micros) -> Option<ClockDifference> {
    let time: (String, String) = read_as("the time", theirs).ok()?;
    let (seconds, micros): (u64, u64) = (time.0.parse().ok()?, time.1.parse().ok()?);
    let theirs = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
    Some(ClockDifference { by: Duration::from_micros(theirs.abs_diff(ours.0)), is_ahead: theirs > ours.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_in_both_directions() {
        let reply = |seconds: &str, micros: &str| {
            Value::Array([seconds, micros].map(|text| Value::BulkString(text.into())).to_vec())
        };
        let at = |seconds: &str| difference(reply(seconds, "500000"), Micros(10_000_000));
        let by = |millis| Duration::from_millis(millis);
        assert_eq!(at("12"), Some(ClockDifference { by: by(2500), is_ahead: true }));
        assert_eq!(at("9"), Some(ClockDifference { by: by(500), is_ahead: false }));
        assert_eq!(at("now"), None);
    }
}
