//! OpenAI's routes for pictures: a client waits on the connection for the job of its request.

pub(crate) mod answer;
mod form;
mod images;
pub(crate) mod models;
mod nested;
pub(crate) mod options;

use axum::{
    Router,
    http::Uri,
    routing::{any, get, post},
};

use crate::{error::ApiError, state::Api};

/// What OpenAI has below `/v1/` and nothing here does: its clients get an error that they can read.
const ELSEWHERE: [&str; 20] = [
    "assistants",
    "audio",
    "batches",
    "chat",
    "completions",
    "containers",
    "conversations",
    "embeddings",
    "engines",
    "evals",
    "files",
    "fine_tuning",
    "moderations",
    "organization",
    "realtime",
    "responses",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// Whether a route only says in OpenAI's form that there is nothing.
#[cfg(test)]
pub(crate) fn is_elsewhere(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/") else { return false };
    rest == "images/{*other}" || ELSEWHERE.contains(&rest.strip_suffix("/{*other}").unwrap_or(rest))
}

/// Every route of OpenAI's. There is no `/v1/images/variations`: nothing here makes variations.
pub(super) fn routes() -> Router<Api> {
    let elsewhere = || any(async |uri: Uri| ApiError::PathUnknown(uri.path().to_owned()));
    let unknown = ELSEWHERE.iter().fold(Router::new(), |routes, name| {
        routes
            .route(&format!("/v1/{name}"), elsewhere())
            .route(&format!("/v1/{name}/{{*other}}"), elsewhere())
    });
    unknown
        .route("/v1/images/generations", post(images::generate))
        .route("/v1/images/edits", post(images::edit))
        .route("/v1/images/{*other}", elsewhere())
        .route("/v1/models", get(models::list))
        // An id has a slash. Some clients escape it.
        .route("/v1/models/{*id}", get(models::one))
}
