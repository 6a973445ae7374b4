//! All calls of this process: leases deliveries from the store, calls the webhooks and reports the results.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use backon::Retryable;
use bytes::Bytes;
use futures::future::BoxFuture;
use glimpse_shared::{
    id::{JobId, Micros, Partition},
    retry::{Waits, policy},
    telemetry,
    webhook::{Delivery, Report, Settled, Webhook},
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{caller::CallError, signed};
use crate::{
    error::ApiError,
    state::{Api, ask},
};

/// The body of the call to a job's webhook; `None` if the job is gone. It is an argument of the calls, because the
/// routes define it.
pub(crate) type BodyOf = fn(&Api, JobId, &Webhook) -> BoxFuture<'static, Result<Option<Bytes>, ApiError>>;

/// The first and the longest pause while the store is unavailable.
const STORE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// The first and the longest pause between two tries to report, and how many there are.
const REPORT_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
const REPORT_TRIES: usize = 12;
/// A call begins at the latest this long after its lease. Together with the timeout of the call it is less than the
/// lease: a process that was frozen must not call after another one has taken over.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// Makes the calls that are due, until the process drains; then waits for those that are open.
pub(crate) async fn call_all(api: Api, body_of: BodyOf) {
    let mut open = JoinSet::new();
    let (mut pauses, mut is_away) = (Waits::new(STORE_PAUSES.0, STORE_PAUSES.1), false);
    // One answer of the store has at most one delivery of each partition.
    let together = Partition::all().count() as u32;
    let places = Arc::new(Semaphore::new(api.webhooks.limits.at_once.max(together) as usize));
    while !api.draining.is_cancelled() {
        // The semaphore is never closed.
        let Ok(mut free) = places.clone().acquire_many_owned(together).await else { return };
        let leased = Instant::now();
        let pause = match api.store.take_deliveries().await {
            Ok(taken) => {
                pauses.reset();
                is_away = false;
                let pause = if taken.is_empty() { api.webhooks.limits.pause } else { Duration::ZERO };
                for delivery in taken {
                    let (api, place) = (api.clone(), free.split(1));
                    open.spawn(async move {
                        let span = telemetry::after(delivery.job, "webhook", delivery.traceparent.as_deref());
                        deliver(&api, &delivery, leased, body_of).instrument(span.clone()).await;
                        telemetry::end(&span);
                        drop(place);
                    });
                }
                pause
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "webhooks are not called while the store is unavailable");
                }
                pauses.next()
            }
        };
        drop(free);
        while open.try_join_next().is_some() {}
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = api.draining.cancelled() => {}
        }
    }
    while open.join_next().await.is_some() {}
}

/// Waits for the open calls until `end`, and then cuts them. Their leases expire, and another process takes over.
pub(crate) async fn end(calls: AbortOnDropHandle<()>, end: Instant) {
    if tokio::time::timeout_at(end, calls).await.is_err() {
        tracing::warn!("some webhooks did not answer in time; another process will call them");
    }
}

async fn deliver(api: &Api, delivery: &Delivery, leased: Instant, body_of: BodyOf) {
    let (job, number) = (delivery.job, delivery.number);
    let report = match call(api, delivery, leased, body_of).await {
        Ok(()) => {
            telemetry::outcome("acknowledged", false);
            tracing::info!(job_id = %job, number, "called the webhook");
            Report::Acknowledged
        }
        Err(Failed::Call(error)) => {
            telemetry::outcome("not acknowledged", true);
            tracing::info!(job_id = %job, number, %error, "the webhook was not acknowledged");
            Report::Failed
        }
        Err(Failed::Unreadable) => Report::Failed,
        // The lease expires, and the next try may find the store.
        Err(Failed::Late) => return,
    };
    let told = || api.store.settle_delivery(job, number, report);
    let (first, longest) = REPORT_PAUSES;
    match told.retry(policy(first, longest).with_max_times(REPORT_TRIES)).await {
        Ok(Settled::GivenUp) => tracing::warn!(job_id = %job, number, "gave the webhook up"),
        Ok(settled) => tracing::debug!(job_id = %job, number, ?settled, "reported the try"),
        Err(error) => {
            tracing::warn!(job_id = %job, number, %error, "the result of a webhook could not be stored; it will be called again");
        }
    }
}

/// Why a webhook was not acknowledged.
enum Failed {
    Call(CallError),
    /// The job cannot be read.
    Unreadable,
    /// The store was unavailable, or the lease is nearly over.
    Late,
}

async fn call(api: &Api, delivery: &Delivery, leased: Instant, body_of: BodyOf) -> Result<(), Failed> {
    let (body, headers) = prepared(api, delivery, body_of).await.map_err(|error| match error {
        ApiError::Defect | ApiError::JobUnknown => Failed::Unreadable,
        _ => Failed::Late,
    })?;
    if leased.elapsed() > BEGINS_WITHIN {
        return Err(Failed::Late);
    }
    api.webhooks.caller.call(&delivery.webhook.url, headers, body).await.map_err(Failed::Call)
}

/// The body and the headers of a call.
async fn prepared(api: &Api, delivery: &Delivery, body_of: BodyOf) -> Result<(Bytes, HeaderMap), ApiError> {
    let body = body_of(api, delivery.job, &delivery.webhook).await?.ok_or(ApiError::JobUnknown)?;
    let key = ask(api.webhooks.key(&api.store)).await?;
    let (of, size) = (delivery.clone(), body.len());
    let seconds = Micros::system().0 / 1_000_000;
    let sign = move || (signed::headers(&of, &body, &key, seconds), body);
    let (headers, body) = api.answers.run_if_large(size, sign).await?;
    Ok((body, headers))
}
