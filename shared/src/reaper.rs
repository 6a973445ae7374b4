//! The round that every process makes: ends what is overdue, gives back what lost its worker.

use std::time::Duration;

use tokio::time::Instant;

use crate::{id::Micros, jitter, store::SharedStore};

/// How long the store must have answered without a break before a process reaps: after an outage, healthy
/// workers renew first.
const SETTLED: Duration = Duration::from_secs(15);

/// How often an API reaps.
pub const API_PERIOD: Duration = Duration::from_secs(1);
/// How often a worker reaps.
pub const WORKER_PERIOD: Duration = Duration::from_secs(5);

/// Reaps every `period` (spread by a tenth) for as long as it is polled.
pub async fn run(store: SharedStore, period: Duration) {
    let mut answering_since: Option<Instant> = None;
    let mut seen = None;
    loop {
        tokio::time::sleep(period.mul_f64(0.95 + 0.1 * jitter::fraction())).await;
        let settled = answering_since.is_some_and(|since| since.elapsed() >= SETTLED);
        let answer = match seen.filter(|_| settled) {
            Some(seen) => store.reap(seen).await.map(|reaped| {
                for id in reaped.ended.iter().chain(&reaped.given_back) {
                    tracing::info!(job = %id, "reaped");
                }
                reaped.now
            }),
            // A round by nobody's clock comes too late to reap anything, and is answered only if all that a round
            // needs is there: of a cluster every node.
            None => store.reap(Micros(0)).await.map(|reaped| reaped.now),
        };
        match answer {
            Ok(now) => {
                answering_since.get_or_insert_with(Instant::now);
                seen = Some(now);
            }
            Err(error) => {
                answering_since = None;
                seen = None;
                tracing::warn!(%error, "reaping waits for the store");
            }
        }
    }
}
