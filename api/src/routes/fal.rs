//! fal's wire: a client waits on the connection for the job of its request.

use std::io::Write;

use axum::{
    Extension,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt;
use glimpse_shared::{
    event::{Event, EventKind, FailureCode, Followed, Frame, ascii_json},
    id::{App, JobId},
    job::Job,
    request::{Defaults, PreviewSource, Unknown},
};
use hyper::ext::ReasonPhrase;
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::jobs::ANONYMOUS;
use crate::{
    check::checked,
    client_buffer::ClientBuffer,
    connection::ClientInput,
    edge::{REQUEST_ID, id_value},
    error::{ApiError, FAL_ERROR_TYPE, json_response},
    intake::{Headers, Parsed, parsed},
    picture,
    sse::{COMMENT, KEEP_ALIVE, Out, Relay, Wire, respond},
    state::{Api, StoreDeadline},
    submit::{Accepted, Waited, submit_waited, unconfirmed},
};

const FAL: Defaults = Defaults { unknown: Unknown::Ignored, preview_source: PreviewSource::Latents };

/// Who set the expired timeout. With this header fal's clients do not retry.
const TIMEOUT_TYPE: HeaderName = HeaderName::from_static("x-fal-request-timeout-type");

type AppPath = Result<Path<(String, String)>, PathRejection>;

/// `POST /{owner}/{app}`: waits for the job, then sends the pictures.
pub(crate) async fn run(
    State(api): State<Api>,
    path: AppPath,
    Extension(input): Extension<ClientInput>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let _place = api.stream()?;
    let (mut waited, prompt) = accept(&api, path, &headers, body).await?;
    let id = waited.id();
    let mut events = api.store.follow(id, None);
    let response = loop {
        let followed = tokio::select! {
            biased;
            followed = events.next() => followed.ok_or(ApiError::Defect)?,
            // Nothing can be written before the response, so a client that only reads cannot be distinguished from one
            // that has disconnected.
            () = input.ended() => break Refusal::input_ended().into_response(),
            () = api.ending.cancelled() => break ApiError::Ending.into_response(),
        };
        if let Some(end) = end_of(&followed) {
            waited.ended();
            break match end {
                Ok(json) => {
                    let size = json.len();
                    api.answers.run_if_large(size, move || completed(&json, &prompt)).await??
                }
                Err(refusal) => refusal.into_response(),
            };
        }
    };
    Ok(with_id(response, id))
}

/// `POST /{owner}/{app}/stream`: sends the previews, then the pictures.
pub(crate) async fn stream(
    State(api): State<Api>,
    path: AppPath,
    Extension(input): Extension<ClientInput>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let place = api.stream()?;
    let (mut waited, _) = accept(&api, path, &headers, body).await?;
    let id = waited.id();
    let mut client_buffer = ClientBuffer::fill(api.store.follow(id, None));
    // Before the first byte an error can have its own status. fal's clients read only such errors.
    let first = tokio::select! {
        biased;
        first = first_shown(&mut client_buffer) => Some(first?),
        () = input.ended() => None,
        () = tokio::time::sleep(KEEP_ALIVE) => None,
        () = api.ending.cancelled() => return Ok(with_id(ApiError::Ending.into_response(), id)),
    };
    if let Some(Err(refusal)) = first.as_ref().and_then(end_of) {
        waited.ended();
        return Ok(with_id(refusal.into_response(), id));
    }
    let (mut wire, mut out) = (Fal { api: api.clone(), waited }, Out::default());
    match first {
        Some(first) => wire.write(first, &mut out).await,
        None => out.push(COMMENT),
    }
    let relay = Relay { client_buffer, wire, input, stop: api.ending.clone(), _place: place };
    Ok(with_id(respond(relay, out), id))
}

/// The first event that this wire sends.
async fn first_shown(client_buffer: &mut ClientBuffer) -> Result<Followed, ApiError> {
    loop {
        let followed = client_buffer.next().await.ok_or(ApiError::Defect)?;
        let shown = match &followed {
            Followed::Frame(frame) => frame.kind == EventKind::Preview || frame.kind.is_terminal(),
            Followed::Gap => false,
            Followed::Lost => true,
        };
        if shown {
            return Ok(followed);
        }
    }
}

/// Checks a request and submits its job; returns its prompt too.
async fn accept(
    api: &Api,
    path: AppPath,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(Waited, String), ApiError> {
    let mut deadline = StoreDeadline::default();
    let admitted = deadline.with(async {
        let app = app(api, path).await?;
        let served = api.admission.served(&app).await?;
        Ok((app, served))
    });
    let (app, served) = admitted.await?;
    let mut headers = Headers::new(headers);
    let class = headers.class();
    let start_timeout = headers.start_timeout().unwrap_or(api.config.start_timeout);
    let on_disconnect = headers.on_disconnect().unwrap_or(api.config.on_disconnect);
    let mut errors = std::mem::take(&mut headers.errors);
    let Parsed { fields, digest, size } = parsed(api, &body).await?;
    let spec = match checked(api, fields, size, served.offer.clone(), FAL).await? {
        Ok(spec) if errors.is_empty() => spec,
        wrong => {
            errors.extend(wrong.err().unwrap_or_default());
            return Err(ApiError::Fields(errors));
        }
    };
    let prompt = spec.prompt().to_owned();
    let job = Job {
        needs: served.needs(&spec).map_err(ApiError::Fields)?,
        id: JobId::new(&app),
        app,
        tenant: ANONYMOUS.to_owned(),
        class,
        affinity: spec.affinity(),
        spec,
        digest,
        start_timeout,
        run_timeout: api.config.run_timeout,
        retry_of: None,
        traceparent: headers.traceparent(),
    };
    let (waited, accepted) = deadline.with(submit_waited(api, job, served.workers, on_disconnect)).await?;
    match accepted {
        // The client gets an error and does not wait, so the job is handled as after a disconnect.
        Accepted::Unconfirmed { replicas } => Err(unconfirmed(api, waited.id(), replicas)),
        Accepted::Now { .. } | Accepted::Before => Ok((waited, prompt)),
    }
}

async fn app(api: &Api, path: AppPath) -> Result<App, ApiError> {
    let Ok(Path((owner, name))) = path else {
        let app = "(no UTF-8)".to_owned();
        return Err(ApiError::AppUnknown { app, served: api.admission.apps().await? });
    };
    let text = format!("{owner}/{name}");
    match text.parse() {
        Ok(app) => Ok(app),
        Err(_) => Err(ApiError::AppUnknown { app: text, served: api.admission.apps().await? }),
    }
}

fn with_id(mut response: Response, id: JobId) -> Response {
    response.headers_mut().insert(REQUEST_ID, id_value(&id));
    response
}

/// Why a request got no pictures, in fal's format.
struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    detail: String,
}

impl Refusal {
    fn failed(code: FailureCode, message: String) -> Self {
        let (status, error_type, detail) = match code {
            FailureCode::StartTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "request_timeout", "Request timed out".to_owned())
            }
            FailureCode::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", message),
            FailureCode::AttemptsExhausted
            | FailureCode::RunTimeout
            | FailureCode::JobLost
            | FailureCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message),
        };
        Self { status, error_type, detail }
    }

    fn cancelled() -> Self {
        // 499 is not in the standard, but fal uses it for a closed request.
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, error_type: "client_cancelled", detail: "Request was cancelled".to_owned() }
    }

    fn input_ended() -> Self {
        let detail = "The client closed its sending half before the response; this route treats that as a disconnect: \
                      keep it open, or use /{owner}/{app}/stream or /v1/jobs";
        Self { detail: detail.to_owned(), ..Self::cancelled() }
    }

    fn lost() -> Self {
        Self::failed(FailureCode::JobLost, "the store no longer knows the job".to_owned())
    }

    fn unreadable() -> Self {
        Self::failed(FailureCode::Internal, "Internal Server Error".to_owned())
    }

    /// Sends it as an event for human readers, and cuts the connection for programs: fal's clients do not know errors
    /// in a stream.
    fn write(&self, out: &mut Out) {
        #[derive(Serialize)]
        struct ErrorEvent<'a> {
            error: &'static str,
            detail: &'a str,
        }
        let event = ErrorEvent { error: self.error_type, detail: &self.detail };
        out.push(format!("data: {}\n\n", ascii_json(&event)));
        out.cut();
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "detail": self.detail, "error_type": self.error_type });
        let mut response = json_response(self.status, &body);
        response.headers_mut().insert(FAL_ERROR_TYPE, HeaderValue::from_static(self.error_type));
        if self.status == StatusCode::GATEWAY_TIMEOUT {
            response.headers_mut().insert(TIMEOUT_TYPE, HeaderValue::from_static("user"));
        }
        if self.status.canonical_reason().is_none() {
            // fal's JavaScript client uses the reason phrase as the error's message.
            response.extensions_mut().insert(ReasonPhrase::from_static(b"Client Closed Request"));
        }
        response
    }
}

/// The end of the job, if it has ended: the JSON of its `completed` event, or a refusal.
fn end_of(followed: &Followed) -> Option<Result<Bytes, Refusal>> {
    let frame = match followed {
        Followed::Frame(frame) if frame.kind.is_terminal() => frame,
        Followed::Frame(_) | Followed::Gap => return None,
        Followed::Lost => return Some(Err(Refusal::lost())),
    };
    Some(match frame.kind {
        EventKind::Completed => Ok(frame.json()),
        EventKind::Cancelled => Err(Refusal::cancelled()),
        _ => Err(failure(frame)),
    })
}

fn failure(frame: &Frame) -> Refusal {
    match frame.event() {
        Some(Event::Failed { code, message }) => Refusal::failed(code, message),
        _ => Refusal::unreadable(),
    }
}

/// The pictures as one response.
fn completed(json: &[u8], prompt: &str) -> Result<Response, ApiError> {
    let completed = picture::of_completed(json).ok_or(ApiError::Defect)?;
    #[derive(Serialize)]
    struct Pictures<'a> {
        images: &'a [&'a RawValue],
        image: Option<&'a &'a RawValue>,
        seed: u64,
        prompt: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        warnings: Option<&'a RawValue>,
    }
    let (images, seed, warnings) = (&completed.images[..], completed.seed, completed.warnings);
    Ok(json_response(StatusCode::OK, &Pictures { images, image: images.first(), seed, prompt, warnings }))
}

/// fal's SSE uses only `data`. An `id:`, a `retry:` or an event name would break its Python client.
struct Fal {
    api: Api,
    waited: Waited,
}

impl Wire for Fal {
    async fn write(&mut self, followed: Followed, out: &mut Out) {
        match end_of(&followed) {
            None => {
                if let Followed::Frame(frame) = followed
                    && let Some(image) = picture::of_preview(&frame.json())
                {
                    out.push(&br#"data: {"image":"#[..]);
                    out.push(image);
                    out.push(&b"}\n\n"[..]);
                }
            }
            Some(end) => {
                self.waited.ended();
                match end {
                    Ok(json) => {
                        let event =
                            self.api.answers.run_if_large(json.len(), move || last_event(&json)).await;
                        match event {
                            Ok(Some(event)) => {
                                out.push(event);
                                out.end();
                            }
                            _ => Refusal::unreadable().write(out),
                        }
                    }
                    Err(refusal) => refusal.write(out),
                }
            }
        }
    }

    fn stop(&mut self, out: &mut Out) {
        let detail = "This server is shutting down; retry the request".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refusal { status, error_type: "runner_disconnected", detail }.write(out);
    }
}

/// The last event: the first picture, as in a preview; the seed; all pictures, if there is more than one; the warnings.
fn last_event(json: &[u8]) -> Option<Vec<u8>> {
    let completed = picture::of_completed(json)?;
    let first = completed.images.first()?.get();
    let mut event = Vec::with_capacity(json.len() + first.len() + 64);
    // Writing to a vector cannot fail.
    let _ = write!(event, "data: {{\"image\":{first},\"seed\":{}", completed.seed);
    if completed.images.len() > 1 {
        let all: Vec<_> = completed.images.iter().map(|image| image.get()).collect();
        let _ = write!(event, ",\"images\":[{}]", all.join(","));
    }
    if let Some(warnings) = completed.warnings {
        let _ = write!(event, ",\"warnings\":{}", warnings.get());
    }
    event.extend_from_slice(b"}\n\n");
    Some(event)
}
