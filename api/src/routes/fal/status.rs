//! The status of a request in fal's queue.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    id::{JobId, Micros},
    job::{JobState, Status},
    store::Shown,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    address::{QueueAddress, RequestUrls},
    log::{Line, lines},
    queue::{RequestPath, known, request},
    stage::Stage,
};
use crate::{
    edge::with_id,
    error::ApiError,
    json::json_response,
    reader::Reader,
    state::{Api, ask},
    waiting::ended,
    wire::{FAL, error_type},
};

/// The query of a status.
#[derive(Deserialize)]
pub(super) struct Logs {
    logs: Option<String>,
}

impl Logs {
    /// fal's JavaScript client sends `1`, its Python client `true`.
    pub(super) fn wanted(query: Result<Query<Self>, QueryRejection>) -> bool {
        let logs = query.ok().and_then(|Query(query)| query.logs);
        logs.is_some_and(|logs| logs == "1" || logs.eq_ignore_ascii_case("true"))
    }
}

/// A status in fal's form.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestStatus {
    status: Stage,
    request_id: JobId,
    #[serde(flatten)]
    urls: RequestUrls,
    /// How many requests are served first; only for a queued request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    queue_position: Option<u64>,
    /// Absent while the request is queued, `null` if they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Option<Vec<Line>>>,
    /// Only of a completed request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    metrics: Option<Metrics>,
    /// Only of a request that failed or was cancelled, as `Invalid status code: 499`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// Why, for programs, if fal has a word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_type: Option<&'static str>,
}

/// How long a request took.
#[derive(Serialize, ToSchema)]
struct Metrics {
    /// Seconds from the first start to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    inference_time: Option<f64>,
}

impl RequestStatus {
    fn new(status: Stage, request_id: JobId, urls: RequestUrls) -> Self {
        let (queue_position, logs, metrics, error, error_type) = (None, None, None, None, None);
        Self { status, request_id, urls, queue_position, logs, metrics, error, error_type }
    }

    /// `position` requests are served first.
    pub(super) fn in_queue(id: JobId, urls: RequestUrls, position: u64) -> Self {
        Self { queue_position: Some(position), ..Self::new(Stage::InQueue, id, urls) }
    }

    pub(super) fn in_progress(id: JobId, urls: RequestUrls, logs: Option<Vec<Line>>) -> Self {
        Self { logs: Some(logs), ..Self::new(Stage::InProgress, id, urls) }
    }

    /// `state` is the job's state at its end, `failure` the reason why it has no pictures.
    pub(super) fn completed(
        id: JobId,
        urls: RequestUrls,
        state: Option<&JobState>,
        failure: Option<&ApiError>,
        logs: Option<Vec<Line>>,
    ) -> Self {
        let times = state.and_then(|state| state.started_at.zip(state.finished_at));
        let inference_time = times.map(|(started, finished)| finished.since(started).as_secs_f64());
        let code = failure.map(|error| (FAL.wire.reports)(error).status());
        Self {
            logs: Some(logs),
            metrics: Some(Metrics { inference_time }),
            error: code.map(|code| format!("Invalid status code: {}", code.as_u16())),
            error_type: failure.and_then(error_type),
            ..Self::new(Stage::Completed, id, urls)
        }
    }

    /// The status of a job in this state. A job that has lost its worker stays in progress: fal's states do not go
    /// back.
    fn of(state: &JobState, failure: Option<&ApiError>, urls: RequestUrls, logs: bool) -> Self {
        let logs = logs.then(|| lines(state, failure, Micros::system()));
        match state.status {
            Status::Queued if state.attempt == 0 => {
                Self::in_queue(state.id, urls, state.position.unwrap_or_default())
            }
            Status::Queued | Status::Running => Self::in_progress(state.id, urls, logs),
            Status::Completed | Status::Failed | Status::Cancelled => {
                Self::completed(state.id, urls, Some(state), failure, logs)
            }
        }
    }
}

/// `GET /queue/{owner}/{app}/requests/{id}/status`: 202 until the request has ended, then 200.
pub(super) async fn status(
    State(api): State<Api>,
    reader: Reader,
    path: RequestPath,
    query: Result<Query<Logs>, QueryRejection>,
    address: QueueAddress,
) -> Result<Response, ApiError> {
    let (app, id) = request(path)?;
    let status = async {
        let state = known(&reader, &app, id).await?;
        let failure = failure(&api, &state).await?;
        let code = if state.status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
        let urls = address.request(&app, id);
        Ok::<_, ApiError>(json_response(
            code,
            &RequestStatus::of(&state, failure.as_ref(), urls, Logs::wanted(query)),
        ))
    };
    Ok(with_id(status.await.into_response(), id))
}

/// Why an ended job has no pictures. Reads an event only if the job failed: that of a completed job has pictures, and
/// clients poll often.
async fn failure(api: &Api, state: &JobState) -> Result<Option<ApiError>, ApiError> {
    match state.status {
        Status::Queued | Status::Running | Status::Completed => Ok(None),
        Status::Cancelled => Ok(Some(ApiError::Cancelled)),
        Status::Failed => {
            let known = ask(api.store.status_with(state.id, Shown::End)).await?;
            let end = known.and_then(|(_, end)| end);
            Ok(Some(
                end.map_or_else(ApiError::lost, |end| ended(&end).err().unwrap_or_else(ApiError::unreadable)),
            ))
        }
    }
}
