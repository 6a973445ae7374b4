//! `GET /metrics`: the metrics of this process, for Prometheus.

use std::time::Duration;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    error::StoreResult,
    metrics::{QueueLength, TEXT_FORMAT},
};

use super::apps::expected_wait;
use crate::{error::ApiError, state::Api};

/// The timeout of the store's answer: well below the 10 s that Prometheus waits by default.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// The text. Without an answer of the store it has no queues: a length that was read earlier may be wrong now.
pub(super) async fn text(State(api): State<Api>) -> Result<Response, ApiError> {
    let queues = match tokio::time::timeout(QUEUE_TIMEOUT, queues(&api)).await {
        Ok(Ok(queues)) => queues,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the metrics have no queues");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!("the metrics have no queues: the store did not answer within 2 s");
            Vec::new()
        }
    };
    for queue in &queues {
        api.metrics.jobs.know(&queue.app);
    }
    let text = api.metrics.text(queues).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        ApiError::Defect
    })?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// The queues of all apps that are served, read at the same time.
async fn queues(api: &Api) -> StoreResult<Vec<QueueLength>> {
    let offered = api.admission.offered().await?;
    let reads = offered.iter().map(|each| api.store.waiting(&each.app));
    let waiting = futures::future::try_join_all(reads).await?;
    let queue = |(offered, waiting): (crate::admission::Offered, _)| {
        let expected_wait = expected_wait(&waiting, offered.workers, offered.idle);
        QueueLength { app: offered.app, jobs: waiting.jobs, oldest: waiting.oldest, expected_wait }
    };
    Ok(offered.into_iter().zip(waiting).map(queue).collect())
}
