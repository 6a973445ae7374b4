//! What our own routes answer about a job.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use glimpse_shared::{
    event::{Event, FailureCode, Frame, Image, Warning},
    id::{App, JobId, WorkerId},
    job::{JobState, Progress, Status},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{json::json_response, picture};

/// The answer to a submit.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedJob<'a> {
    id: JobId,
    app: &'a App,
    status: Status,
    /// How many waiting jobs are served first; only for a queued job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<u64>,
    urls: JobUrls,
}

/// The paths of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobUrls {
    job: String,
    events: String,
    image: String,
}

/// The response to a submit, with the job's path in `Location`.
pub(crate) fn accepted(
    code: StatusCode,
    id: JobId,
    app: &App,
    status: Status,
    position: Option<u64>,
) -> Response {
    let url = format!("/v1/jobs/{id}");
    let urls = JobUrls { events: format!("{url}/events"), image: format!("{url}/image"), job: url.clone() };
    let body = AcceptedJob { id, app, status, position, urls };
    let mut response = json_response(code, &body);
    if let Ok(location) = HeaderValue::try_from(url) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A job. Members without a value are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobView<'a> {
    id: JobId,
    app: &'a App,
    status: Status,
    /// The newest attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    attempt: Option<u32>,
    /// The worker that runs it, or that finished it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    worker: Option<&'a WorkerId>,
    /// How many waiting jobs are served first; only for a queued job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<u64>,
    /// How many live workers can take it; only for a queued job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    workers: Option<usize>,
    /// At its newest preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<Progress>,
    /// When it was submitted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was first claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    finished_at: Option<String>,
    /// The last step that was made, counted from 0; only of a job that was finished early.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, maximum = 298)]
    finished_at_step: Option<u32>,
    /// Only of a completed job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    result: Option<JobResult<'a>>,
    /// Only of a failed job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<JobError>,
    /// The parts of the request that had no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Warning>>, nullable = false)]
    warnings: Option<&'a RawValue>,
    /// The dead job that it retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_of: Option<JobId>,
}

/// The final pictures of a job.
#[derive(Serialize, ToSchema)]
struct JobResult<'a> {
    #[schema(value_type = Vec<Image>, max_items = 4)]
    images: Vec<&'a RawValue>,
    /// The seed that gives these pictures again.
    #[schema(maximum = 9007199254740992i64)]
    seed: u64,
    /// The seed of each picture, if the request gave them. The first is `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u64>>, nullable = false)]
    seeds: Option<&'a RawValue>,
}

/// Why a job failed.
#[derive(Serialize, ToSchema)]
struct JobError {
    code: FailureCode,
    /// Why, for people.
    message: String,
}

/// The response with a job. `end` is the event that ended it, `workers` how many workers can take it.
pub(super) fn view(state: &JobState, end: Option<&Frame>, workers: Option<usize>) -> Response {
    let steps = state.steps;
    let json = end.map(Frame::json).unwrap_or_default();
    let completed = picture::of_completed(&json);
    let view = JobView {
        id: state.id,
        app: &state.app,
        status: state.status,
        attempt: Some(state.attempt).filter(|attempt| *attempt > 0),
        worker: state.worker.as_ref(),
        position: state.position,
        workers,
        progress: state.step.map(|step| Progress { step, steps }),
        created_at: state.created_at.rfc3339(),
        started_at: state.started_at.map(|at| at.rfc3339()),
        finished_at: state.finished_at.map(|at| at.rfc3339()),
        warnings: completed.as_ref().and_then(|completed| completed.warnings),
        finished_at_step: completed.as_ref().and_then(|completed| completed.finished_at_step),
        result: completed.map(|completed| {
            let picture::CompletedParts { images, seed, seeds, .. } = completed;
            JobResult { images, seed, seeds }
        }),
        error: match end.filter(|_| state.status == Status::Failed).and_then(|end| end.event()) {
            Some(Event::Failed { code, message }) => Some(JobError { code, message }),
            _ => None,
        },
        retry_of: state.retry_of,
    };
    json_response(StatusCode::OK, &view)
}

/// The answer to a cancel.
#[derive(Serialize, ToSchema)]
pub(crate) struct CancelledJob {
    pub(super) id: JobId,
    /// `cancelled`, or the status with which the job had already ended.
    pub(super) status: Status,
}
