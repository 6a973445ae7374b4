//! The workers on record.

use redis::Value;

use super::{
    Door,
    queue::{BEYOND_CLOCK, millis},
    scripts::{HEARTBEAT, Outcome, WORKERS, nonsense, number, unexpected},
};
use crate::{
    error::{StoreError, StoreResult},
    event::ascii_json,
    id::Micros,
    job::{SeenWorker, WorkerRecord},
};

impl Door {
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
            Outcome::Done => Ok(()),
            other => unexpected(other),
        }
    }

    pub(super) async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        let call =
            WORKERS.keys([self.keys.workers()]).now(self.now()).value(self.rules.worker_known.as_micros());
        seen(call.read(&self.nodes).await?)
    }
}

/// What `workers` answers.
pub(super) fn seen(answer: Value) -> StoreResult<Vec<SeenWorker>> {
    let entries: Vec<String> =
        redis::from_redis_value(answer).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let mut workers = Vec::with_capacity(entries.len());
    for entry in &entries {
        let (last_seen, record) = entry.split_once(' ').ok_or_else(|| nonsense("worker", entry))?;
        match serde_json::from_str(record) {
            Ok(record) => workers.push(SeenWorker { record, last_seen: Micros(number(last_seen)?) }),
            // A newer worker's word that this version lacks must not hide the whole fleet from it.
            Err(error) => tracing::warn!(%error, record, "a worker's record cannot be read"),
        }
    }
    workers.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    Ok(workers)
}
