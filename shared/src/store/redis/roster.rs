//! The registered workers.

use redis::Value;

use super::{
    backend::Backend,
    queue::{BEYOND_CLOCK, millis},
    scripts::{HEARTBEAT, ScriptReply, WORKERS, number, unexpected},
    shape::{Shape, bad_json, read_as, unreadable},
};
use crate::{
    error::{StoreError, StoreResult},
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
        let (workers, unreadable) = seen(call.read(&self.nodes).await?)?;
        for error in unreadable {
            self.unreadable.skipped(&format!("a record in {}", self.keys.workers()), &error);
        }
        Ok(workers)
    }
}

/// Reads the reply of `workers`. A record of a newer version, or of another program, must not hide the other workers:
/// it is returned as an error.
pub(super) fn seen(answer: Value) -> StoreResult<(Vec<SeenWorker>, Vec<StoreError>)> {
    let entries: Vec<Vec<u8>> = read_as("the workers", answer)?;
    let (mut workers, mut unreadable) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in &entries {
        match worker(entry) {
            Ok(worker) => workers.push(worker),
            Err(error) => unreadable.push(error),
        }
    }
    workers.sort_by(|a: &SeenWorker, b| a.record.id.cmp(&b.record.id));
    Ok((workers, unreadable))
}

/// Reads `<last seen> <record>`.
fn worker(entry: &[u8]) -> StoreResult<SeenWorker> {
    let strange = || unreadable("a worker", Shape::of_text(entry));
    let text = str::from_utf8(entry).map_err(|_| strange())?;
    let (last_seen, record) = text.split_once(' ').ok_or_else(strange)?;
    let last_seen = Micros(number(last_seen)?);
    let record = serde_json::from_str(record).map_err(|error| bad_json("a worker's record", &error))?;
    Ok(SeenWorker { record, last_seen })
}
