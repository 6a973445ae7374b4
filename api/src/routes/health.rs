//! Whether this process lives, and whether it can do anything.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use crate::{
    error::{ApiError, json_response},
    state::Api,
};

/// How long the store may take to answer before this replica counts as cut off from it.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /health/live`: the process answers, whatever else is away.
pub(crate) async fn live() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "live" }))
}

/// `GET /health/ready`: the store answers and this process takes requests.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, ApiError> {
    if api.draining.is_cancelled() {
        return Err(ApiError::Ending);
    }
    match tokio::time::timeout(PATIENCE, api.store.now()).await {
        Ok(now) => now?,
        Err(_) => return Err(ApiError::StoreAway),
    };
    Ok(json_response(StatusCode::OK, &json!({ "status": "ready" })))
}
