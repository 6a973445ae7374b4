//! `/health/live`, `/health/ready` and `/metrics` of a worker, for its supervisor. Off unless `--listen` is given.

use std::time::Duration;

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use glimpse_shared::{
    metrics::{Metrics, TEXT_FORMAT},
    store::SharedStore,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

/// The timeout of the store's answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until the process ends. Ready means: the model is loaded, the worker is registered and not draining, and the
/// store can do everything that the worker needs; if it cannot, the body has the reason.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    ready: watch::Receiver<bool>,
    store: SharedStore,
    metrics: Metrics,
) -> std::io::Result<()> {
    let ready = move || async move {
        if !*ready.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, answer("not ready"));
        }
        match trouble(&store).await {
            None => (StatusCode::OK, answer("ready")),
            Some(reason) => {
                tracing::warn!(reason, "not ready");
                let body = json!({ "status": "not ready", "detail": reason });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body))
            }
        }
    };
    let router = Router::new()
        .route("/health/live", get(|| async { answer("live") }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(move || async move { shown(&metrics) }));
    axum::serve(listener, router).await
}

/// Why the store cannot do what the worker needs.
async fn trouble(store: &SharedStore) -> Option<String> {
    match tokio::time::timeout(READY_TIMEOUT, store.ready()).await {
        Ok(ready) => ready.err().map(|error| error.to_string()),
        Err(_) => Some("the store is unavailable: no answer within 2 s".to_owned()),
    }
}

fn shown(metrics: &Metrics) -> Response {
    match metrics.text(Vec::new()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer(status: &str) -> Json<Value> {
    Json(json!({ "status": status }))
}
