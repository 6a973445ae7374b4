//! Responses in JSON.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use glimpse_shared::event::ascii_json;
use http_body_util::BodyExt;
use serde::Serialize;

use crate::error::ApiError;

/// A response in ASCII JSON.
pub(crate) fn json_response<T: Serialize>(status: StatusCode, json: &T) -> Response {
    let mut response = Response::new(Body::from(ascii_json(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a response that is in memory.
///
/// # Errors
/// When it is not.
pub(crate) async fn collected(response: Response) -> Result<Bytes, ApiError> {
    let body = response.into_body().collect().await.map_err(|_| ApiError::Defect)?;
    Ok(body.to_bytes())
}
