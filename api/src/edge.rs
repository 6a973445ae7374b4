//! What is the same for every route: bodies have a limit, every answer has an id and may be read from any web
//! page, and a defect is an answer too.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::{error::ApiError, state::Api};

/// The id of an answer; where the request waited for a job, the job's.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-fal-request-id");

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(120);
/// How much of a body that is too large is read and thrown away: a client that is still sending does not look
/// for the answer.
const THROWN_AWAY: u64 = 64 << 20;

/// The layer around all routes.
pub(crate) async fn edge(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        match whole_body(request, api.config.body_limit, &api.bodies).await {
            Ok(request) => caught(next.run(request)).await,
            Err(error) => error.into_response(),
        }
    };
    let headers = response.headers_mut();
    if !headers.contains_key(&REQUEST_ID) {
        headers.insert(REQUEST_ID, id_value(&Uuid::now_v7()));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    response
}

/// An id as a header's value.
pub(crate) fn id_value(id: &impl ToString) -> HeaderValue {
    // Ids are UUIDs: always a legal value.
    HeaderValue::from_str(&id.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("*, Authorization, Content-Type, X-Fal-Target-Url"),
    );
    response
}

/// The last resort: a panic of ours is one client's 500 and a line in the log.
async fn caught(response: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(response).catch_unwind().await.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!(message, "a route panicked");
        ApiError::Defect.into_response()
    })
}

/// The request with all of its body read, so that the limits hold on every route and however it is sent.
async fn whole_body(request: Request, limit: u64, bodies: &Arc<Semaphore>) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    let read = read(&parts.headers, body, limit, bodies);
    let body = tokio::time::timeout(BODY_PATIENCE, read).await.unwrap_or(Err(ApiError::BodyTooSlow))?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// What has come of a body, and its place among those of this process: it has it for as long as anybody keeps the
/// bytes.
#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    place: Option<OwnedSemaphorePermit>,
}

impl Kept {
    fn extend(&mut self, data: &[u8], bodies: &Arc<Semaphore>) -> Result<(), ApiError> {
        let more = u32::try_from(data.len()).map_err(|_| ApiError::BodiesFull)?;
        let more = bodies.clone().try_acquire_many_owned(more).map_err(|_| ApiError::BodiesFull)?;
        match &mut self.place {
            Some(place) => place.merge(more),
            None => self.place = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: u64,
    bodies: &Arc<Semaphore>,
) -> Result<Bytes, ApiError> {
    let too_large = ApiError::BodyTooLarge { limit };
    // A client that asks first has sent nothing yet.
    let asks_first = headers.get(header::EXPECT).is_some_and(|value| value.as_bytes() == b"100-continue");
    if body.size_hint().lower() > limit && asks_first {
        return Err(too_large);
    }
    let mut kept = Ok(Kept::default());
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        // The client has gone or does not speak HTTP: nobody reads the answer.
        let Ok(data) = frame.map(|frame| frame.into_data().unwrap_or_default()) else {
            return Err(ApiError::BodyTooSlow);
        };
        length += data.len() as u64;
        if length > limit {
            kept = Err(too_large.clone());
        }
        // Who is still sending does not look for the answer: the rest is thrown away.
        if let Ok(bytes) = &mut kept
            && let Err(full) = bytes.extend(&data, bodies)
        {
            kept = Err(full);
        }
        if length > limit.saturating_add(THROWN_AWAY) {
            break;
        }
    }
    kept.map(Bytes::from_owner)
}
