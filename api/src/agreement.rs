//! Whether the workers keep results where this API looks for them.

use std::{collections::BTreeSet, time::Duration};

use glimpse_shared::id::WorkerId;

use crate::{admission::is_alive, state::Api};

/// How often the records of the workers are read.
const PERIOD: Duration = Duration::from_secs(10);

/// Logs an error for each worker that keeps results elsewhere, once, as long as it is polled.
pub(crate) async fn run(api: Api) {
    let ours = api.config.results.as_ref().map(|results| results.place().kind());
    let mut told: BTreeSet<WorkerId> = BTreeSet::new();
    loop {
        // An outage of the store is not this task's matter.
        if let (Ok(now), Ok(workers)) = (api.store.now().await, api.store.workers().await) {
            told.retain(|id| workers.iter().any(|seen| seen.record.id == *id));
            for seen in workers.into_iter().filter(|seen| is_alive(seen, now)) {
                // A worker without --results sends its pictures inside of events, which every API can send on.
                let Some(theirs) = seen.record.results else { continue };
                if ours.as_ref() != Some(&theirs) && told.insert(seen.record.id.clone()) {
                    let ours = ours.as_deref().unwrap_or("none");
                    tracing::error!(
                        worker = %seen.record.id, theirs, ours,
                        "this worker keeps results where this API does not look: start all with the same --results"
                    );
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
