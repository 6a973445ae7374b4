//! Whether this process is alive, whether it can serve requests, and whether a worker takes jobs.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, http::header, response::Response};
use glimpse_shared::error::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::ApiError, json::json_response, state::Api};

/// What a process says about itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: HealthStatus,
    /// Why the process is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

#[derive(Serialize, ToSchema)]
enum HealthStatus {
    #[serde(rename = "live")]
    Live,
    #[serde(rename = "ready")]
    Ready,
    #[serde(rename = "not ready")]
    NotReady,
}

/// The timeout of the store's answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /health/live`: the process responds, even if the store is unavailable.
pub(crate) async fn live() -> Response {
    json_response(StatusCode::OK, &Health { status: HealthStatus::Live, detail: None })
}

/// `GET /health`: a worker is alive and takes jobs, and this process accepts requests. If not, the body has the reason.
pub(crate) async fn service(State(api): State<Api>) -> Result<Response, ApiError> {
    if api.draining.is_cancelled() {
        return Err(ApiError::Ending);
    }
    let takers = tokio::time::timeout(READY_TIMEOUT, api.admission.all_takers()).await;
    Ok(match takers.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer within 2 s".to_owned()))) {
        Ok(0) => {
            not_ready("No worker takes jobs: start one, or wait until it has loaded its model".to_owned())
        }
        Ok(_) => json_response(StatusCode::OK, &Health { status: HealthStatus::Ready, detail: None }),
        Err(error) => not_ready(error.to_string()),
    })
}

fn not_ready(detail: String) -> Response {
    let body = Health { status: HealthStatus::NotReady, detail: Some(detail) };
    let mut response = json_response(StatusCode::SERVICE_UNAVAILABLE, &body);
    response.headers_mut().insert(header::RETRY_AFTER, 2.into());
    response
}

/// `GET /health/ready`: the store works, and this process accepts requests. If the store does not work, the body has
/// the reason.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, ApiError> {
    if api.draining.is_cancelled() {
        return Err(ApiError::Ending);
    }
    let ready = tokio::time::timeout(READY_TIMEOUT, api.store.ready()).await;
    match ready.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer within 2 s".to_owned()))) {
        Ok(()) => Ok(json_response(StatusCode::OK, &Health { status: HealthStatus::Ready, detail: None })),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Ok(not_ready(error.to_string()))
        }
    }
}
