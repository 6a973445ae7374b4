//! fal's wire.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use bytes::Bytes;
use glimpse_shared::{
    event::{FailureCode, Image, Timings, Warning, ascii_json},
    request::{Defaults, Dialect, Names, PreviewSource, Task, Unknown},
};
use hyper::ext::ReasonPhrase;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    definition::{Connected, Wire},
    detail::{self, OtherError, status},
};
use crate::{
    error::ApiError,
    json::json_response,
    picture::CompletedParts,
    policy::{VIOLATION, is_violation},
    sse::Out,
};

/// fal's routes. fal's SSE uses only `data`: an `id:`, a `retry:` or an event name would break its Python client.
pub(crate) static FAL: Connected = Connected {
    wire: Wire {
        reads: Dialect {
            defaults: Defaults { unknown: Unknown::Ignored, preview_source: PreviewSource::Latents },
            names: Names::Fal(Task::Any),
        },
        reports: report,
    },
    pictures,
    preview,
    last,
    cut,
};

/// fal's name for the kind of an error, also for responses without a body.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-fal-error-type");

/// Who set the expired timeout. With this header fal's clients do not retry.
const TIMEOUT_TYPE: HeaderName = HeaderName::from_static("x-fal-request-timeout-type");

/// fal's word for the reason why a job has no pictures.
pub(crate) fn error_type(error: &ApiError) -> Option<&'static str> {
    match error {
        ApiError::Failed { code, .. } => Some(match code {
            FailureCode::StartTimeout => "request_timeout",
            FailureCode::BadRequest => "bad_request",
            FailureCode::ContentPolicyViolation => VIOLATION,
            FailureCode::AttemptsExhausted
            | FailureCode::RunTimeout
            | FailureCode::JobLost
            | FailureCode::Internal => "internal_error",
        }),
        ApiError::Cancelled | ApiError::InputEnded => Some("client_cancelled"),
        refused if is_violation(refused) => Some(VIOLATION),
        _ => None,
    }
}

/// fal's text for an error, where it has one.
fn text(error: &ApiError) -> String {
    match error {
        ApiError::Failed { code: FailureCode::StartTimeout, .. } => "Request timed out".to_owned(),
        ApiError::JobUnknown => "Request not found".to_owned(),
        ApiError::InputEnded => {
            "The client closed its sending half before the response; this route treats that as a \
                                 disconnect: keep it open, or use /{owner}/{app}/stream or /v1/jobs"
                .to_owned()
        }
        other => other.message(),
    }
}

fn report(error: &ApiError) -> Response {
    let error_type = error_type(error).filter(|_| !matches!(error, ApiError::Fields(_)));
    let Some(error_type) = error_type else {
        return match error {
            ApiError::JobUnknown => {
                json_response(status(error), &OtherError { detail: text(error), ..OtherError::default() })
            }
            other => detail::report(other),
        };
    };
    let status = status(error);
    let body = OtherError { detail: text(error), error_type: Some(error_type), ..OtherError::default() };
    let mut response = json_response(status, &body);
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error_type));
    if status == StatusCode::GATEWAY_TIMEOUT {
        response.headers_mut().insert(TIMEOUT_TYPE, HeaderValue::from_static("user"));
    }
    if status.canonical_reason().is_none() {
        // fal's JavaScript client uses the reason phrase as the error's message.
        response.extensions_mut().insert(ReasonPhrase::from_static(b"Client Closed Request"));
    }
    response
}

/// The answer with the pictures of a request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pictures<'a> {
    #[schema(value_type = Vec<Image>, max_items = 4)]
    images: &'a [&'a RawValue],
    /// The first of `images`.
    #[schema(value_type = Image)]
    image: Option<&'a &'a RawValue>,
    /// The seed that gives these pictures again.
    #[schema(maximum = 9007199254740992i64)]
    seed: u64,
    /// The seed of each picture, if the request gave them. The first is `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u64>>, nullable = false)]
    seeds: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "str::is_empty")]
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Timings>, nullable = false)]
    timings: Option<&'a RawValue>,
    /// The parts of the request that had no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Warning>>, nullable = false)]
    warnings: Option<&'a RawValue>,
}

impl<'a> Pictures<'a> {
    fn of(completed: &'a CompletedParts<'a>, prompt: &'a str) -> Self {
        let CompletedParts { images, seed, seeds, timings, warnings, .. } = completed;
        let image = images.first();
        let (seed, seeds, timings, warnings) = (*seed, *seeds, *timings, *warnings);
        Self { images, image, seed, seeds, prompt, timings, warnings }
    }
}

fn pictures(completed: &CompletedParts<'_>, prompt: &str) -> Response {
    json_response(StatusCode::OK, &Pictures::of(completed, prompt))
}

fn preview(image: Bytes, out: &mut Out) {
    out.push(&br#"data: {"image":"#[..]);
    out.push(image);
    out.push(&b"}\n\n"[..]);
}

/// The answer of a client that waits for the pictures alone.
fn last(completed: &CompletedParts<'_>, prompt: &str) -> String {
    format!("data: {}\n\n", ascii_json(&Pictures::of(completed, prompt)))
}

/// The `data` of the last event of a stream that is cut by an error. The connection closes early too.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamedError<'a> {
    error: &'static str,
    detail: &'a str,
}

/// An event for human readers: fal's clients do not know errors in a stream.
fn cut(error: &ApiError) -> String {
    let event =
        StreamedError { error: error_type(error).unwrap_or("runner_disconnected"), detail: &text(error) };
    format!("data: {}\n\n", ascii_json(&event))
}
