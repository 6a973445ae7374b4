//! Submits jobs to the store, and cancels them when the client that waits for them disconnects.

use std::time::Duration;

use backon::Retryable;
use glimpse_shared::{
    event::CancelledBy,
    id::JobId,
    job::Job,
    request::FieldError,
    retry::policy,
    store::{Quota, Submit},
    telemetry,
};
use tokio::{runtime::Handle, sync::oneshot};
use tracing::{Instrument, Span};

use crate::{
    config::OnDisconnect,
    error::ApiError,
    state::{Api, ask},
};

/// The retries of a cancel, and the first and the longest wait between them. Together they outlast a lease.
const CANCEL_TRIES: usize = 5;
const CANCEL_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// The assumed time of a job, if no job of the app was completed recently.
const UNMEASURED: Duration = Duration::from_secs(10);
/// The longest `Retry-After`, in seconds.
const LONGEST_WAIT: u64 = 3600;

/// A job that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was submitted now, behind `position` others.
    Now {
        /// How many waiting jobs are served first.
        position: u64,
    },
    /// It was submitted now, but too few replicas of the store have it: a failover may lose it.
    Unconfirmed {
        /// How many replicas have it.
        replicas: u32,
    },
    /// It was submitted by an earlier request with the same key.
    Before,
}

async fn submit(api: &Api, job: &Job, quota: Quota, workers: usize) -> Result<Accepted, ApiError> {
    match ask(api.store.submit_within(job, quota)).await? {
        Submit::Submitted { position } => {
            tracing::info!(job_id = %job.id, app = %job.app, position, "submitted");
            Ok(Accepted::Now { position })
        }
        Submit::Unconfirmed { replicas } => {
            tracing::warn!(job_id = %job.id, app = %job.app, replicas, "submitted, but too few replicas confirmed it");
            Ok(Accepted::Unconfirmed { replicas })
        }
        Submit::Duplicate => Ok(Accepted::Before),
        Submit::Conflict => Err(conflict()),
        Submit::Crowded { unfinished, pace } => {
            let limit = quota.unfinished.map_or(unfinished, |most| most.get().into());
            // One of the tenant's own jobs must end.
            Err(ApiError::JobsFull { limit, retry_after: retry_after(unfinished, limit, pace, 1) })
        }
        Submit::Full { waiting, pace } => Err(full(api, waiting, pace, workers)),
    }
}

/// The error for a key that was used by another request.
pub(crate) fn conflict() -> ApiError {
    ApiError::field(FieldError::header(
        "idempotency-key",
        "idempotency_conflict",
        "This key was already used for another request",
        "",
    ))
}

/// The error for a job that too few replicas of the store have.
pub(crate) fn unconfirmed(api: &Api, id: JobId, replicas: u32) -> ApiError {
    ApiError::Unconfirmed { id, replicas, wanted: api.config.submit_wait_replicas }
}

/// The error for a full queue.
pub(crate) fn full(api: &Api, waiting: u64, pace: Option<Duration>, workers: usize) -> ApiError {
    let retry_after = retry_after(waiting, api.config.queue_limit, pace, workers);
    ApiError::QueueFull { waiting, retry_after }
}

/// The time until the queue has room: `workers` workers take one of the excess jobs per `pace`.
fn retry_after(waiting: u64, limit: u64, pace: Option<Duration>, workers: usize) -> Duration {
    let too_many = (waiting + 1).saturating_sub(limit).max(1) as f64;
    let seconds = pace.unwrap_or(UNMEASURED).as_secs_f64() * too_many / workers.max(1) as f64;
    Duration::from_secs((seconds.ceil() as u64).clamp(1, LONGEST_WAIT))
}

/// Submits a job for a client that waits on this connection. `quota` is that of its tenant, `workers` the number of
/// workers of its app.
///
/// If the client disconnects during the submit, the submit continues and then the job is cancelled: a cancel before the
/// submit would find no job.
pub(crate) async fn submit_waited(
    api: &Api,
    job: Job,
    quota: Quota,
    workers: usize,
    on_disconnect: OnDisconnect,
) -> Result<(Waited, Accepted), ApiError> {
    let (answer, answered) = oneshot::channel();
    telemetry::job(job.id);
    let mut waited = Waited {
        api: api.clone(),
        request: Span::current(),
        runtime: Handle::current(),
        id: job.id,
        cancel: on_disconnect == OnDisconnect::Cancel,
    };
    let task = async move {
        let submitted = submit(&waited.api, &job, quota, workers).await;
        if !matches!(submitted, Ok(_) | Err(ApiError::StoreAway)) {
            // Refused: there is no job to cancel. After an unanswered submit there may be one.
            waited.ended();
        }
        // If the client has disconnected, the value is dropped here, which cancels the job.
        let _ = answer.send(submitted.map(|accepted| (waited, accepted)));
    };
    api.tasks.spawn(task.in_current_span());
    answered.await.unwrap_or(Err(ApiError::Defect))
}

/// A job that a client waits for on this connection. Dropping it before the job has ended cancels the job, unless
/// `on_disconnect` is `Detach`.
pub(crate) struct Waited {
    api: Api,
    /// The span of the request, for the lines of the log.
    request: Span,
    /// The runtime for the cancel: the value may be dropped outside of a task.
    runtime: Handle,
    id: JobId,
    cancel: bool,
}

impl Waited {
    /// The job's id.
    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    /// Records that the job has ended and needs no cancel.
    pub(crate) fn ended(&mut self) {
        self.cancel = false;
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if self.cancel {
            let cancel = cancel(self.api.clone(), self.id).instrument(self.request.clone());
            self.api.tasks.spawn_on(cancel, &self.runtime);
        }
    }
}

async fn cancel(api: Api, id: JobId) {
    let (first, longest) = CANCEL_WAITS;
    let cancel = || ask(api.store.cancel(id, CancelledBy::Disconnect));
    match cancel.retry(policy(first, longest).with_max_times(CANCEL_TRIES)).await {
        Ok(cancel) => tracing::info!(job_id = %id, ?cancel, "the client disconnected"),
        Err(_) => {
            tracing::warn!(job_id = %id, "the client disconnected, but its job could not be cancelled and keeps running");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_back_when_a_place_may_be_free() {
        let pace = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        for (waiting, limit, pace, workers, seconds) in [
            (100, 100, pace(7.0), 1, 7),
            (100, 100, pace(7.0), 4, 2),
            // Another API process allows more.
            (104, 100, pace(7.0), 1, 35),
            (100, 100, None, 2, 5),
            (100, 100, pace(0.01), 1, 1),
            (100, 100, pace(7.0), 0, 7),
            (u64::MAX - 1, 1, pace(1e6), 1, 3600),
        ] {
            assert_eq!(retry_after(waiting, limit, pace, workers), Duration::from_secs(seconds));
        }
    }
}
