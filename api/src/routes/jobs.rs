//! The wire of our own routes: a job continues without its client.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode, Frame},
    id::{App, JobId, WorkerId},
    job::{ANONYMOUS, Class, Job, JobState, Status},
    request::FieldError,
    store::{Cancel, Shown},
    webhook::Webhook,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    admission::Served,
    check::checked,
    config::OnDisconnect,
    error::ApiError,
    intake::{Headers, Members, Parsed, parsed},
    json::{collected, json_response},
    picture,
    state::{Api, StoreDeadline, ask},
    submit::{Accepted, conflict, submit_waited, unconfirmed},
    wire::OWN,
};

/// `POST /v1/jobs`.
pub(crate) async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut deadline = StoreDeadline::default();
    let request = Submission::read(&api, &headers, &body).await?;
    if let Some(known) = deadline.with(request.known(&api)).await? {
        return Ok(accepted(StatusCode::OK, known.id, &known.app, known.status, known.position));
    }
    let served = deadline.with(api.admission.served(&request.app)).await?;
    let keyed = request.keyed;
    let job = request.job(&api, &served).await?;
    // If the client disconnects before the response, it does not know the id. With a key it can repeat the submit.
    let orphan = if keyed { OnDisconnect::Detach } else { OnDisconnect::Cancel };
    let submitted = submit_waited(&api, job.clone(), served.workers, orphan);
    let (mut waited, submitted) = deadline.with(submitted).await?;
    waited.ended();
    match submitted {
        Accepted::Now { position } => {
            Ok(accepted(StatusCode::ACCEPTED, job.id, &job.app, Status::Queued, Some(position)))
        }
        Accepted::Unconfirmed { replicas } => Err(unconfirmed(&api, job.id, replicas)),
        Accepted::Before => {
            let known = deadline.with(known(&api, job.id)).await?;
            Ok(accepted(StatusCode::OK, known.id, &known.app, known.status, known.position))
        }
    }
}

/// The parts of a submit that do not depend on the app's offer.
struct Submission {
    app: App,
    id: JobId,
    /// Whether the id is computed from an `Idempotency-Key`.
    keyed: bool,
    digest: String,
    start_timeout: Duration,
    run_timeout: Duration,
    traceparent: Option<String>,
    webhook: Option<Webhook>,
    fields: Map<String, Value>,
    size: usize,
}

impl Submission {
    async fn read(api: &Api, headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        let mut headers = Headers::new(headers);
        let key = headers.idempotency_key();
        let Parsed { fields, digest, size } = parsed(api, body).await?;
        let mut members = Members { body: fields, errors: std::mem::take(&mut headers.errors) };
        let app = members.app();
        let start_timeout = members.timeout("start_timeout").unwrap_or(api.config.start_timeout);
        let run_timeout = members.timeout("run_timeout").unwrap_or(api.config.run_timeout);
        let webhook = members.webhook(&api.webhooks).await;
        let Members { body: fields, mut errors } = members;
        let Some(app) = app.filter(|_| errors.is_empty()) else {
            // Report all errors at once, even if the app is unknown.
            let offer = ask(api.admission.anything()).await?;
            errors.extend(checked(api, fields, size, offer, OWN.reads).await?.err().unwrap_or_default());
            return Err(ApiError::Fields(errors));
        };
        let id = match &key {
            Some(key) => JobId::from_key(&ask(api.store.key_secret()).await?, &app, ANONYMOUS, key),
            None => JobId::new(&app),
        };
        let (keyed, traceparent) = (key.is_some(), headers.traceparent());
        Ok(Self { app, id, keyed, digest, start_timeout, run_timeout, traceparent, webhook, fields, size })
    }

    /// The job of the same key, if there is one: a repeated request gets the same response even if the app has no
    /// workers now.
    async fn known(&self, api: &Api) -> Result<Option<JobState>, ApiError> {
        if !self.keyed {
            return Ok(None);
        }
        match api.store.status(self.id).await? {
            Some(known) if known.digest != self.digest => Err(conflict()),
            known => Ok(known),
        }
    }

    async fn job(self, api: &Api, served: &Served) -> Result<Job, ApiError> {
        let offer = served.offer.clone();
        let spec = checked(api, self.fields, self.size, offer, OWN.reads).await?.map_err(ApiError::Fields)?;
        Ok(Job {
            needs: served.needs(&spec).map_err(ApiError::Fields)?,
            affinity: spec.affinity(),
            spec,
            id: self.id,
            app: self.app,
            tenant: ANONYMOUS.to_owned(),
            class: Class::Normal,
            digest: self.digest,
            start_timeout: self.start_timeout,
            run_timeout: self.run_timeout,
            retry_of: None,
            traceparent: self.traceparent,
            webhook: self.webhook,
        })
    }
}

pub(crate) fn accepted(
    code: StatusCode,
    id: JobId,
    app: &App,
    status: Status,
    position: Option<u64>,
) -> Response {
    #[derive(Serialize)]
    struct AcceptedJob<'a> {
        id: JobId,
        app: &'a App,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
        urls: Urls,
    }
    #[derive(Serialize)]
    struct Urls {
        job: String,
        events: String,
        image: String,
    }
    let url = format!("/v1/jobs/{id}");
    let urls = Urls { events: format!("{url}/events"), image: format!("{url}/image"), job: url.clone() };
    let body = AcceptedJob { id, app, status, position, urls };
    let mut response = json_response(code, &body);
    if let Ok(location) = HeaderValue::try_from(url) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Parses the id in the path. An invalid id gives 404.
pub(crate) fn job_id(path: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    let Ok(Path(id)) = path else { return Err(ApiError::JobUnknown) };
    id.parse().map_err(|_| ApiError::JobUnknown)
}

/// The state of a job that must exist.
pub(crate) async fn known(api: &Api, id: JobId) -> Result<JobState, ApiError> {
    ask(api.store.status(id)).await?.ok_or(ApiError::JobUnknown)
}

/// The state of a job that must exist, and an event of its log.
async fn known_with(api: &Api, id: JobId, shown: Shown) -> Result<(JobState, Option<Frame>), ApiError> {
    ask(api.store.status_with(id, shown)).await?.ok_or(ApiError::JobUnknown)
}

/// `GET /v1/jobs/{id}`.
pub(crate) async fn status(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    described(&api, job_id(path)?).await
}

/// The body of the call to a job's webhook: the job as `GET /v1/jobs/{id}` shows it. `None` if the job is gone.
pub(super) async fn webhook_body(api: &Api, id: JobId) -> Result<Option<Bytes>, ApiError> {
    match described(api, id).await {
        Ok(response) => Ok(Some(collected(response).await?)),
        Err(ApiError::JobUnknown) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn described(api: &Api, id: JobId) -> Result<Response, ApiError> {
    let (state, end) = known_with(api, id, Shown::End).await?;
    let workers = match state.status {
        Status::Queued => Some(ask(api.admission.takers(&state.app, &state.needs)).await?),
        _ => None,
    };
    let size = end.as_ref().map_or(0, |end| end.bytes().len());
    api.answers.run_if_large(size, move || view(&state, end.as_ref(), workers)).await
}

/// A job as clients see it. Members without a value are left out.
fn view(state: &JobState, end: Option<&Frame>, workers: Option<usize>) -> Response {
    #[derive(Serialize)]
    struct JobView<'a> {
        id: JobId,
        app: &'a App,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<&'a WorkerId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
        /// How many live workers can take it.
        #[serde(skip_serializing_if = "Option::is_none")]
        workers: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<ProgressView>,
        created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        finished_at: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<JobResult<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<JobError>,
        #[serde(skip_serializing_if = "Option::is_none")]
        warnings: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_of: Option<JobId>,
    }
    #[derive(Serialize)]
    struct ProgressView {
        step: u32,
        steps: u32,
    }
    #[derive(Serialize)]
    struct JobResult<'a> {
        images: Vec<&'a RawValue>,
        seed: u64,
    }
    #[derive(Serialize)]
    struct JobError {
        code: FailureCode,
        message: String,
    }

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
        progress: state.step.map(|step| ProgressView { step, steps }),
        created_at: state.created_at.rfc3339(),
        started_at: state.started_at.map(|at| at.rfc3339()),
        finished_at: state.finished_at.map(|at| at.rfc3339()),
        warnings: completed.as_ref().and_then(|completed| completed.warnings),
        result: completed.map(|completed| JobResult { images: completed.images, seed: completed.seed }),
        error: match end.filter(|_| state.status == Status::Failed).and_then(|end| end.event()) {
            Some(Event::Failed { code, message }) => Some(JobError { code, message }),
            _ => None,
        },
        retry_of: state.retry_of,
    };
    json_response(StatusCode::OK, &view)
}

/// The query of a job's picture.
#[derive(Deserialize)]
pub(crate) struct Which {
    /// Which of the final pictures, from 0. A preview is only of the first.
    index: Option<usize>,
}

/// `GET /v1/jobs/{id}/image`: the newest preview, or a final picture.
pub(crate) async fn image(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, ApiError> {
    let index = match query {
        Ok(Query(which)) => which.index.unwrap_or(0),
        Err(_) => {
            let msg = "Input should be a valid integer, from 0";
            return Err(ApiError::field(FieldError::query("index", "int_parsing", msg, "")));
        }
    };
    let (_, newest) = known_with(&api, job_id(path)?, Shown::Newest).await?;
    let newest = newest.ok_or(ApiError::NoImage)?;
    let size = newest.bytes().len();
    let decode = move || {
        let image = picture::shown(&newest, index).ok_or(ApiError::NoImage)?;
        Ok::<_, ApiError>((image.decode().ok_or(ApiError::Defect)?, image.content_type))
    };
    let (bytes, content_type) = api.answers.run_if_large(size, decode).await??;
    let mut response = Response::new(Body::from(bytes));
    let content_type = HeaderValue::try_from(content_type).map_err(|_| ApiError::Defect)?;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    // The next response may have another picture.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /v1/jobs/{id}`. Idempotent.
pub(crate) async fn cancel(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = job_id(path)?;
    let cancelled = ask(api.store.cancel(id, CancelledBy::Client)).await?;
    let status = match cancelled {
        Cancel::Cancelled => Status::Cancelled,
        Cancel::AlreadyDone(status) => status,
        Cancel::Unknown => return Err(ApiError::JobUnknown),
    };
    Ok(json_response(StatusCode::OK, &json!({ "id": id, "status": status })))
}
