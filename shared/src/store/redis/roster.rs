//! The registered workers.

use redis::Value;

use super::{
    backend::Backend,
    queue::{BEYOND_CLOCK, millis},
    scripts::{HEARTBEAT, ScriptReply, WORKERS, number, unexpected},
    shape::{Shape, bad_json, read_as, unreadable},
};
use crate::{
    error::StoreResult,
    event::ascii_json,
    id::Micros,
    job::{SeenWorker, WorkerRecord},
};

impl Backend {
    pub(super) async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        let json = ascii_json(worker);
        let call = HEARTBEAT
            .keys([self.keys.workers(), self.keys.swept()])
            .now(self.now())
            .text(worker.id.as_str())
            .text(&json)
            .value(self.rules.worker_known.as_micros())
            .value(millis(self.rules.worker_known + BEYOND_CLOCK));
        match call.run(&self.nodes).await? {
            ScriptReply::Done => Ok(()),
            other => unexpected(other),
        }
    }

    pub(super) async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        let call =
            WORKERS.keys([self.keys.workers()]).now(self.now()).value(self.rules.worker_known.as_micros());
        seen(call.read(&self.nodes).await?)
    }
}

/// Reads the reply of `workers`.
pub(super) fn seen(answer: Value) -> StoreResult<Vec<SeenWorker>> {
    let entries: Vec<String> = read_as("the workers", answer)?;
    let mut workers = Vec::with_capacity(entries.len());
    for entry in &entries {
        let split = entry.split_once(' ');
        let (last_seen, record) = split.ok_or_else(|| unreadable("a worker", Shape::of_text(entry)))?;
        match serde_json::from_str(record) {
            Ok(record) => workers.push(SeenWorker { record, last_seen: Micros(number(last_seen)?) }),
            // One record of a newer version must not hide the other workers.
            Err(error) => {
                tracing::warn!(error = %bad_json("a worker's record", &error), "cannot read a worker's record; the worker is not listed")
            }
        }
    }
    workers.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    Ok(workers)
}
