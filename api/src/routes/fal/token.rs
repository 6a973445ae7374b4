//! fal's clients ask for a token before they open a realtime connection.

use axum::{http::StatusCode, response::Response};
use uuid::Uuid;

use crate::json::json_response;

/// The path of fal's service for tokens.
pub(super) const PATH: &str = "/tokens";

/// `POST /tokens`: a token as fal's clients need it to go on. This server has no keys, so a connection is open with any
/// token and without one.
pub(super) async fn create() -> Response {
    json_response(StatusCode::OK, &Uuid::new_v4().simple().to_string())
}
