//! What the server says on a realtime connection: the pictures in the format of the input, and errors and times as JSON.

use std::time::Duration;

use axum::extract::ws::Message;
use bytes::Bytes;
use futures::future::try_join_all;
use glimpse_shared::event::{Image, ascii_json};
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use super::input::Format;
use crate::{error::ApiError, picture, state::Api, wire::error_type};

/// The pictures of a `completed` event. In msgpack each is one of `files`; in JSON it has a URL.
///
/// # Errors
/// When the event cannot be read.
pub(super) fn pictures(
    files: Option<Vec<File>>,
    completed: &[u8],
    prompt: &str,
    request_id: Option<&Value>,
) -> Result<Message, ApiError> {
    let parts = picture::of_completed(completed).ok_or(ApiError::Defect)?;
    let (seed, seeds) = (parts.seed, value(parts.seeds));
    let (timings, warnings) = (value(parts.timings), value(parts.warnings));
    match files {
        None => {
            let images = parts.images;
            Ok(json(&Pictures { images, seed, seeds, prompt, timings, warnings, request_id }))
        }
        Some(images) => {
            let pictures = Pictures { images, seed, seeds, prompt, timings, warnings, request_id };
            let bytes = rmp_serde::to_vec_named(&pictures).map_err(|error| {
                tracing::error!(%error, "pictures cannot be written in msgpack");
                ApiError::Defect
            })?;
            Ok(Message::Binary(bytes.into()))
        }
    }
}

fn value(json: Option<&RawValue>) -> Option<Value> {
    json.and_then(|json| serde_json::from_str(json.get()).ok())
}

/// A text message in ASCII JSON.
fn json<T: Serialize>(value: &T) -> Message {
    Message::Text(ascii_json(value).into())
}

#[derive(Serialize)]
struct Pictures<'a, I> {
    images: Vec<I>,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a Value>,
}

/// A picture with the bytes of its file.
#[derive(Serialize)]
pub(super) struct File {
    content: Binary,
    content_type: String,
    width: u32,
    height: u32,
}

/// Bytes that are not a list of numbers.
struct Binary(Bytes);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl File {
    /// Reads a picture, wherever it is kept.
    async fn read(api: &Api, image: Image) -> Result<Self, ApiError> {
        let (content_type, width, height) = (image.content_type.clone(), image.width, image.height);
        let content = Binary(picture::read(api, image).await?);
        Ok(Self { content, content_type, width, height })
    }
}

/// The files of a `completed` event for this format; `None` if it has URLs instead.
///
/// # Errors
/// When the event or a picture cannot be read.
pub(super) async fn files(
    api: &Api,
    format: Format,
    completed: &Bytes,
) -> Result<Option<Vec<File>>, ApiError> {
    if format == Format::Json {
        return Ok(None);
    }
    let finals = picture::finals(api, completed.clone()).await?;
    try_join_all(finals.pictures.into_iter().map(|image| File::read(api, image))).await.map(Some)
}

/// How long an input took.
pub(super) fn timing(took: Duration) -> Message {
    #[derive(Serialize)]
    struct Timing {
        r#type: &'static str,
        action: &'static str,
        timing: f64,
    }
    let timing = Timing { r#type: "x-fal-message", action: "timings", timing: took.as_secs_f64() };
    json(&timing)
}

/// The connection gets no inputs. fal's clients know this word and connect again when they need to.
pub(super) fn idle() -> Message {
    let reason = "No input came for a while; connect again when there is one";
    json(&Fault { r#type: FAULT, error: "TIMEOUT", reason, ..Fault::default() })
}

/// Why an input has no pictures. The connection can still be used.
pub(super) fn fault(error: &ApiError, request_id: Option<&Value>) -> Message {
    let detail = match error {
        ApiError::Fields(fields) => serde_json::to_value(fields).ok(),
        _ => None,
    };
    let reason = error.message();
    let fault = Fault { r#type: FAULT, error: word(error), reason: &reason, detail, request_id };
    json(&fault)
}

const FAULT: &str = "x-fal-error";

#[derive(Default, Serialize)]
struct Fault<'a> {
    r#type: &'static str,
    error: &'static str,
    reason: &'a str,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a Value>,
}

/// The word for an error. It is never `TIMEOUT`, which fal's clients ignore.
fn word(error: &ApiError) -> &'static str {
    if matches!(error, ApiError::Fields(_)) {
        return "VALIDATION_ERROR";
    }
    match error_type(error) {
        Some("request_timeout") => return "REQUEST_TIMEOUT",
        Some("bad_request") => return "BAD_REQUEST",
        Some("client_cancelled") => return "CLIENT_CANCELLED",
        Some(_) => return "INTERNAL_ERROR",
        None => {}
    }
    match error {
        ApiError::AppUnknown { .. } => "NOT_FOUND",
        ApiError::QueueFull { .. }
        | ApiError::StreamsFull { .. }
        | ApiError::FetchesFull { .. }
        | ApiError::BodiesFull => "OVERLOADED",
        ApiError::StoreAway | ApiError::ModerationAway | ApiError::Unconfirmed { .. } | ApiError::Ending => {
            "UNAVAILABLE"
        }
        _ => "INTERNAL_ERROR",
    }
}
