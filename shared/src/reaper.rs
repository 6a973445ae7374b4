//! The round that every process makes: ends what is overdue, gives back what lost its worker.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    error::StoreResult,
    id::Micros,
    jitter,
    store::{Reaped, SharedStore},
};

/// How long the store must have answered without a break before a process reaps: after an outage, healthy
/// workers renew first.
const SETTLED: Duration = Duration::from_secs(15);
/// The store's time is asked for so long before each round. A round that is held up does nothing, since that time is
/// then too old; and whoever was held up before it has had a second to renew.
const AHEAD: Duration = Duration::from_secs(1);
/// An answer that takes longer is a break: the store may have stood still, and leases run out meanwhile.
const PROMPT: Duration = Duration::from_secs(3);

/// How often an API reaps.
pub const API_PERIOD: Duration = Duration::from_secs(1);
/// How often a worker reaps: a lease and a round take less than 20 s, also where there are workers alone.
pub const WORKER_PERIOD: Duration = Duration::from_secs(4);

/// Reaps every `period` (less up to a tenth) for as long as it is polled.
pub async fn run(store: SharedStore, period: Duration) {
    let mut answering_since: Option<Instant> = None;
    loop {
        let pause = period.mul_f64(1.0 - 0.1 * jitter::fraction());
        tokio::time::sleep(pause.saturating_sub(AHEAD)).await;
        let settled = answering_since.is_some_and(|since| since.elapsed() >= SETTLED);
        match round(&store, settled, pause.min(AHEAD)).await {
            Ok(Some(reaped)) => {
                answering_since.get_or_insert_with(Instant::now);
                for id in reaped.ended.iter().chain(&reaped.given_back) {
                    tracing::info!(job = %id, "reaped");
                }
            }
            Ok(None) => {
                answering_since = None;
                tracing::warn!("reaping waits: the store answers slowly");
            }
            Err(error) => {
                answering_since = None;
                tracing::warn!(%error, "reaping waits for the store");
            }
        }
    }
}

/// One round; `None` if the store was slow to tell the time.
async fn round(store: &SharedStore, settled: bool, ahead: Duration) -> StoreResult<Option<Reaped>> {
    let asked = Instant::now();
    let now = store.now().await?;
    if asked.elapsed() > PROMPT {
        return Ok(None);
    }
    tokio::time::sleep(ahead).await;
    // A round by nobody's clock comes too late to reap anything, and is answered only if all that a round needs is
    // there: of a cluster every node.
    store.reap(if settled { now } else { Micros(0) }).await.map(Some)
}
