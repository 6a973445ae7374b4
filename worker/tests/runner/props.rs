//! Helpers of the runner's tests.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{
    event::{CancelledBy, Event},
    id::{JobId, Micros},
    job::WorkerState,
    store::{Clock, Rules, SharedStore, memory::MemoryStore},
};

use crate::script::{all, until};

pub const GRACE: Duration = Duration::from_secs(30);

pub fn memory() -> SharedStore {
    Arc::new(MemoryStore::new(Rules::default(), Clock::Store))
}

pub fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind().as_str()).collect()
}

/// Waits for the end of a job, which must be its pictures.
pub async fn assert_completes(store: &SharedStore, id: JobId) {
    let events = all(store, id).await;
    assert!(matches!(events.last(), Some(Event::Completed { .. })), "{:?}", kinds(&events));
}

/// Cancels the job that the only worker runs, and waits until it is settled.
pub async fn cancel_and_settle(store: &SharedStore, id: JobId) {
    let busy = busy_since(store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    until_settled(store, busy).await;
}

/// Waits until the only worker is busy. Returns the time of that heartbeat.
pub async fn busy_since(store: &SharedStore) -> Micros {
    let seen = async || store.workers().await.unwrap()[0].clone();
    until(async || seen().await.record.state == WorkerState::Busy).await;
    seen().await.last_seen
}

/// Waits until the only worker has settled its job, but its pipeline is still busy: the worker then sends a heartbeat
/// without progress.
pub async fn until_settled(store: &SharedStore, busy_since: Micros) {
    until(async || {
        let seen = store.workers().await.unwrap()[0].clone();
        (seen.record.state, seen.record.progress) == (WorkerState::Busy, None) && seen.last_seen > busy_since
    })
    .await;
}
