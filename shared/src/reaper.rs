//! The reaping pass that every process runs: ends overdue jobs, and requeues jobs that lost their worker.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    error::StoreError,
    id::Micros,
    jitter,
    store::{Reaped, SharedStore},
};

/// How long the store must respond without a break before a process reaps: after an outage the healthy workers must
/// renew their leases first.
const SETTLED: Duration = Duration::from_secs(15);
/// The store's time is read this long before each pass. If the pass is delayed, this time is too old and the pass does
/// nothing. A worker that was delayed has this time to renew.
const AHEAD: Duration = Duration::from_secs(1);
/// A slower answer counts as a break: the store may have been frozen while leases expired.
const PROMPT: Duration = Duration::from_secs(3);

/// How often an API reaps.
pub const API_PERIOD: Duration = Duration::from_secs(1);
/// How often a worker reaps: in a fleet without an API, a lost job is requeued within 20 s.
pub const WORKER_PERIOD: Duration = Duration::from_secs(4);

/// Reaps every `period`, less up to 10 % jitter, as long as it is polled.
pub async fn run(store: SharedStore, period: Duration) {
    let mut answering_since: Option<Instant> = None;
    let mut trouble = Trouble::default();
    loop {
        let pause = period.mul_f64(1.0 - 0.1 * jitter::fraction());
        tokio::time::sleep(pause.saturating_sub(AHEAD)).await;
        let settled = answering_since.is_some_and(|since| since.elapsed() >= SETTLED);
        match round(&store, settled, pause.min(AHEAD)).await {
            Ok(Some(reaped)) => {
                answering_since.get_or_insert_with(Instant::now);
                trouble.end();
                for id in reaped.ended.iter().chain(&reaped.given_back) {
                    tracing::info!(job_id = %id, "reaped");
                }
            }
            Ok(None) => {
                answering_since = None;
                trouble.tell("reaping is paused: the store responds slowly".to_owned());
            }
            Err(Failed::Reap(error)) if error.is_permanent() => {
                // The store responds: this is no outage.
                answering_since.get_or_insert_with(Instant::now);
                trouble.tell(format!("a reaping pass found data that this version cannot read: {error}"));
            }
            Err(Failed::Now(error) | Failed::Reap(error)) => {
                answering_since = None;
                trouble.tell(format!("reaping is paused: {error}"));
                // The failed pass may have ended at once.
                tokio::time::sleep(pause.min(AHEAD)).await;
            }
        }
    }
}

/// What keeps the passes from reaping. The log has each trouble once, and not for every pass.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, message: String) {
        if self.0.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.0 = Some(message);
        }
    }

    fn end(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("reaping continues");
        }
    }
}

/// The command of a pass that failed.
enum Failed {
    /// A store that cannot return its time cannot renew leases either.
    Now(StoreError),
    Reap(StoreError),
}

/// One pass; `None` if the store was slow to return its time.
async fn round(store: &SharedStore, settled: bool, ahead: Duration) -> Result<Option<Reaped>, Failed> {
    let asked = Instant::now();
    let now = store.now().await.map_err(Failed::Now)?;
    if asked.elapsed() > PROMPT {
        return Ok(None);
    }
    tokio::time::sleep(ahead).await;
    // A pass with time 0 reaps nothing, but it fails if a node of a cluster is unreachable.
    store.reap(if settled { now } else { Micros(0) }).await.map(Some).map_err(Failed::Reap)
}
