//! Claims the worker's jobs, one after the other.

use glimpse_shared::{
    job::WorkerRecord,
    store::{Claim, Lease, SharedStore},
};

use crate::{
    engine::Engine,
    in_hand::{InHand, State},
    lease::Backoff,
    registration,
};

/// The claims of one worker.
pub struct Claims {
    store: SharedStore,
    engine: Engine,
    record: WorkerRecord,
    /// Its number is the number of claims that the store has answered. Its affinity is that of the newest job, because
    /// the pipeline has loaded that job's LoRAs when it begins the next: a job with the same affinity needs no load.
    next: Claim,
}

impl Claims {
    /// The claims of a worker that has not claimed yet.
    pub fn new(store: SharedStore, engine: Engine, record: WorkerRecord) -> Self {
        let (worker, app) = (record.id.clone(), record.app.clone());
        let next = Claim { worker, app, affinity: None, capabilities: record.capabilities(), number: 0 };
        Self { store, engine, record, next }
    }

    /// The next job; `None` when the worker ends.
    ///
    /// A job is claimed ahead, which is while the pipeline does the last step of another, only if it is queued already:
    /// an idle worker would have taken it. A job that is queued later is claimed when the pipeline is free, so that it
    /// does not wait here while another worker is idle.
    pub async fn next(&mut self, in_hand: &InHand) -> Option<Lease> {
        if let Some(lease) = self.claim(in_hand).await {
            self.next.affinity.clone_from(&lease.job.affinity);
            return Some(lease);
        }
        // This worker may have received a wake-up that it does not use: pass it on to another worker.
        if let Err(error) = self.store.wake(&self.next.app, &self.next.capabilities).await {
            tracing::debug!(%error, "a wake-up could not be passed on to another worker");
        }
        None
    }

    /// Claims first and then waits, so that a job which is already queued is not missed.
    async fn claim(&mut self, in_hand: &InHand) -> Option<Lease> {
        let mut backoff = Backoff::new("claim");
        let mut unanswered = false;
        loop {
            in_hand.until(|state| state.is_ending() || state.has_room()).await;
            // A claim without an answer may have a job. It is repeated once, so that the job does not wait until its
            // lease expires.
            let ends = in_hand.read(State::is_ending);
            if ends && !unanswered {
                return None;
            }
            let was_free = in_hand.read(State::is_free);
            // A claim that is repeated under its number must not change.
            if !unanswered && registration::limit(&mut self.record, &self.engine) {
                self.next.capabilities = self.record.capabilities();
            }
            match self.store.try_claim(&self.next).await {
                Ok(lease) => {
                    // Answered: the next claim is a new one.
                    self.next.number += 1;
                    unanswered = false;
                    if lease.is_some() {
                        return lease;
                    }
                }
                Err(_) if ends => return None,
                Err(error) => {
                    // The store may have executed the claim: the same number returns the same lease. After a permanent
                    // error that lease cannot be read: it expires, and the next number claims another job.
                    unanswered = !error.is_permanent();
                    self.next.number += u64::from(error.is_permanent());
                    backoff.pause(&error).await;
                    continue;
                }
            }
            if !was_free {
                in_hand.until(|state| state.is_ending() || state.is_free()).await;
                continue;
            }
            let woken = tokio::select! {
                biased;
                () = in_hand.until(State::is_ending) => return None,
                woken = self.store.wait_for_work(&self.next.app, &self.next.capabilities) => woken,
            };
            if let Err(error) = woken {
                backoff.pause(&error).await;
            }
        }
    }
}
