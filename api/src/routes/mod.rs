//! The routes, grouped by wire: each wire is a thin translation of the same job.

mod dead;
mod events;
mod fal;
mod health;
mod jobs;
mod page;
mod workers;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Uri,
    middleware,
    routing::{get, post},
};

use crate::{edge::edge, error::ApiError, state::Api};

/// Every route of the API.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .merge(page::routes())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/v1/jobs", post(jobs::submit))
        .route("/v1/jobs/{id}", get(jobs::status).delete(jobs::cancel))
        .route("/v1/jobs/{id}/events", get(events::follow))
        .route("/v1/jobs/{id}/image", get(jobs::image))
        .route("/v1/dead", get(dead::list))
        .route("/v1/dead/{id}/retry", post(dead::retry))
        .route("/v1/workers", get(workers::list))
        .route("/{owner}/{app}", post(fal::run))
        .route("/{owner}/{app}/stream", post(fal::stream))
        .fallback(async |uri: Uri| ApiError::PathUnknown(uri.path().to_owned()))
        .method_not_allowed_fallback(async || ApiError::MethodUnknown)
        // The edge has its own, for every route alike.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), edge))
        .with_state(api)
}
