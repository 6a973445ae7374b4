//! `/health/live` and `/health/ready` of a worker, for its supervisor. Off unless `--listen` is given.

use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

/// Serves until the process ends. Ready means: the model is loaded, the worker is registered and not draining.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, ready: watch::Receiver<bool>) -> std::io::Result<()> {
    let ready = move || async move {
        let (status, word) = if *ready.borrow() {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        };
        (status, answer(word))
    };
    let router = Router::new()
        .route("/health/live", get(|| async { answer("live") }))
        .route("/health/ready", get(ready));
    axum::serve(listener, router).await
}

fn answer(status: &str) -> Json<Value> {
    Json(json!({ "status": status }))
}
