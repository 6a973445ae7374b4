//! OpenAI's routes for pictures: a client waits on the connection for the job of its request.

mod answer;
mod form;
mod images;
mod models;
mod options;

use axum::{
    Router,
    http::Uri,
    routing::{any, get, post},
};

use crate::{error::ApiError, state::Api};

/// Every route of OpenAI's. There is no `/v1/images/variations`: nothing here makes variations.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/images/generations", post(images::generate))
        .route("/v1/images/edits", post(images::edit))
        .route("/v1/images/{*other}", any(async |uri: Uri| ApiError::PathUnknown(uri.path().to_owned())))
        .route("/v1/models", get(models::list))
        // An id has a slash. Some clients escape it.
        .route("/v1/models/{*id}", get(models::one))
}
