//! Responses in JSON.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use glimpse_shared::event::ascii_json;
use serde::Serialize;

/// A response in ASCII JSON.
pub(crate) fn json_response<T: Serialize>(status: StatusCode, json: &T) -> Response {
    let mut response = Response::new(Body::from(ascii_json(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
