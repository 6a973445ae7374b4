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
    id::{App, JobId},
    job::{Class, Job, JobState, Status},
    request::{Branch, FieldError},
    store::{Cancel, Shown},
    telemetry,
    webhook::Webhook,
    weight::Weight,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::view::{CancelledJob, accepted, view};
use crate::{
    admission::Served,
    branch,
    check::checked,
    config::OnDisconnect,
    error::ApiError,
    intake::{Headers, Members, Parsed, parsed, read_query},
    json::{collected, json_response},
    picture,
    reader::Reader,
    state::{Api, StoreDeadline, ask},
    submit::{Accepted, conflict, submit_waited, unconfirmed},
    wire::OWN,
};

/// `POST /v1/jobs`.
pub(crate) async fn submit(
    State(api): State<Api>,
    reader: Reader,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut deadline = StoreDeadline::default();
    let request = Submission::read(&reader, &headers, &body).await?;
    if let Some(known) = deadline.with(request.known(&api)).await? {
        return Ok(accepted(StatusCode::OK, known.id, &known.app, known.status, known.position));
    }
    let served = deadline.with(api.admission.served(&request.app)).await?;
    let keyed = request.keyed;
    let job = request.job(&reader, &served).await?;
    // If the client disconnects before the response, it does not know the id. With a key it can repeat the submit.
    let orphan = if keyed { OnDisconnect::Detach } else { OnDisconnect::Cancel };
    let submitted = submit_waited(&api, job.clone(), reader.caller().quota(), served.workers, orphan);
    let (mut waited, submitted) = deadline.with(submitted).await?;
    waited.ended();
    match submitted {
        Accepted::Now { position } => {
            Ok(accepted(StatusCode::ACCEPTED, job.id, &job.app, Status::Queued, Some(position)))
        }
        Accepted::Unconfirmed { replicas } => Err(unconfirmed(&api, job.id, replicas)),
        Accepted::Before => {
            let known = deadline.with(known(&reader, job.id)).await?;
            Ok(accepted(StatusCode::OK, known.id, &known.app, known.status, known.position))
        }
    }
}

/// The parts of a submit that do not depend on the app's offer.
struct Submission {
    app: App,
    tenant: String,
    weight: Weight,
    id: JobId,
    /// Whether the id is computed from an `Idempotency-Key`.
    keyed: bool,
    digest: String,
    start_timeout: Duration,
    run_timeout: Duration,
    traceparent: Option<String>,
    webhook: Option<Webhook>,
    fields: Map<String, Value>,
    /// The body as the errors of missing fields show it.
    sent: Value,
    size: usize,
}

impl Submission {
    async fn read(reader: &Reader, headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        let api = reader.api();
        let mut headers = Headers::new(headers);
        let key = headers.idempotency_key();
        let Parsed { fields, sent, digest, size } = parsed(api, body).await?;
        let mut members = Members { body: fields, errors: std::mem::take(&mut headers.errors) };
        let app = members.app();
        let start_timeout = members.timeout("start_timeout").unwrap_or(api.config.start_timeout);
        let run_timeout = members.timeout("run_timeout").unwrap_or(api.config.run_timeout);
        let webhook = members.webhook(reader).await;
        let Members { body: mut fields, mut errors } = members;
        let Some(app) = app.filter(|_| errors.is_empty()) else {
            // Report all errors at once, even if the app is unknown. Another job is not looked for.
            fields.remove("from");
            let offer = ask(api.admission.anything()).await?;
            errors.extend(checked(api, fields, size, offer, OWN.reads).await?.err().unwrap_or_default());
            return Err(ApiError::Fields(errors).of_sent(&sent));
        };
        let id = match &key {
            Some(key) => {
                JobId::from_key(&ask(api.store.key_secret()).await?, &app, reader.caller().tenant(), key)
            }
            None => JobId::new(&app),
        };
        let (keyed, traceparent) = (key.is_some(), headers.traceparent());
        Ok(Self {
            app,
            tenant: reader.caller().tenant().to_owned(),
            weight: reader.caller().weight(),
            id,
            keyed,
            digest,
            start_timeout,
            run_timeout,
            traceparent,
            webhook,
            fields,
            sent,
            size,
        })
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

    async fn job(mut self, reader: &Reader, served: &Served) -> Result<Job, ApiError> {
        let (api, offer) = (reader.api(), served.offer.clone());
        branch::resolve(reader, &self.app, served, &mut self.fields).await?;
        let checked = checked(api, self.fields, self.size, offer, OWN.reads).await?;
        let spec = checked.map_err(|errors| branch::told(errors).of_sent(&self.sent))?;
        branch::loras(&spec, served)?;
        let before = spec.branches().map(Branch::request);
        for request in std::iter::once(&spec).chain(before) {
            api.policy.check(&self.app, &self.tenant, request).await?;
        }
        Ok(Job {
            needs: served.needs(&spec).map_err(ApiError::Fields)?,
            affinity: spec.affinity(),
            spec,
            id: self.id,
            app: self.app,
            weight: self.weight,
            tenant: self.tenant,
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

/// Parses the id in the path. An invalid id gives 404.
pub(crate) fn job_id(path: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    let Ok(Path(id)) = path else { return Err(ApiError::JobUnknown) };
    id.parse().map_err(|_| ApiError::JobUnknown)
}

/// The state of a job that must exist, for who sees it.
pub(crate) async fn known(reader: &Reader, id: JobId) -> Result<JobState, ApiError> {
    reader.status(id).await?.ok_or(ApiError::JobUnknown)
}

/// `GET /v1/jobs/{id}`.
pub(crate) async fn status(
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    described(&reader, job_id(path)?).await
}

/// The body of the call to a job's webhook: the job as `GET /v1/jobs/{id}` shows it. `None` if the job is gone.
pub(super) async fn webhook_body(reader: &Reader, id: JobId) -> Result<Option<Bytes>, ApiError> {
    match described(reader, id).await {
        Ok(response) => Ok(Some(collected(response).await?)),
        Err(ApiError::JobUnknown) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn described(reader: &Reader, id: JobId) -> Result<Response, ApiError> {
    let api = reader.api();
    let (state, end) = reader.state_with(id, Shown::End).await?.ok_or(ApiError::JobUnknown)?;
    let workers = match state.status {
        Status::Queued => Some(ask(api.admission.takers(&state.app, &state.needs)).await?),
        _ => None,
    };
    let size = end.as_ref().map_or(0, |end| end.bytes().len());
    api.answers.run_if_large(size, move || view(&state, end.as_ref(), workers)).await
}

/// The query of a job's picture.
#[derive(Deserialize)]
pub(crate) struct Which {
    index: Option<String>,
}

impl Which {
    fn index(query: Result<Query<Self>, QueryRejection>) -> Result<usize, ApiError> {
        let Some(text) = read_query(query, "index")?.index else { return Ok(0) };
        text.parse().map_err(|_| {
            let rule = "Input should be the index of a picture, a whole number from 0";
            ApiError::field(FieldError::query("index", "int_parsing", rule, &text))
        })
    }
}

/// `GET /v1/jobs/{id}/image`: the newest preview, or a final picture; `?index=` names one, from 0.
pub(crate) async fn image(
    State(api): State<Api>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, ApiError> {
    let id = job_id(path)?;
    let index = Which::index(query)?;
    let known = reader.stored(id, Shown::Newest).await?.ok_or(ApiError::JobUnknown)?;
    let newest = known.1.ok_or(ApiError::NoImage)?;
    let size = newest.bytes().len();
    let shown = move || picture::shown(&newest, index).ok_or(ApiError::NoImage);
    let image = api.answers.run_if_large(size, shown).await??;
    let content_type = image.content_type.clone();
    let mut response = Response::new(Body::from(picture::read(&api, image).await?));
    let content_type = HeaderValue::try_from(content_type).map_err(|_| ApiError::Defect)?;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    // The next response may have another picture.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /v1/jobs/{id}`. Idempotent.
pub(crate) async fn cancel(
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = job_id(path)?;
    telemetry::job(id);
    let status = match reader.cancel(id).await? {
        Cancel::Cancelled => Status::Cancelled,
        Cancel::AlreadyDone(status) => status,
        Cancel::Unknown => return Err(ApiError::JobUnknown),
    };
    Ok(json_response(StatusCode::OK, &CancelledJob { id, status }))
}
