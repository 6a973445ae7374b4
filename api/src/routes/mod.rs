//! The routes. There are three wires (fal's, OpenAI's and our own) for the same jobs.

pub(crate) mod apps;
pub(crate) mod dead;
mod docs;
mod events;
pub(crate) mod fal;
mod files;
pub(crate) mod health;
pub(crate) mod job_list;
mod jobs;
mod metrics;
pub(crate) mod openai;
mod page;
mod range;
pub(crate) mod view;
pub(crate) mod webhook;
pub(crate) mod workers;

use axum::{
    Router,
    http::Uri,
    routing::{get, post},
};
use tower::ServiceExt;

pub(crate) use webhook::webhook_body;

use crate::{
    edge::{for_any_page, guarded, with_ids},
    error::ApiError,
    state::Api,
    wire::{FAL, OPENAI, OWN},
};

/// The routes behind the address of a request.
pub(crate) fn router(api: Api) -> Router {
    let routes = every(&api);
    // Before the routes, because it changes the path.
    Router::new().fallback_service(with_ids(routes).with_state(api).map_request(fal::addressed))
}

/// Every route of the API. `openapi` describes each of them.
pub(crate) fn every(api: &Api) -> Router<Api> {
    let own = Router::new()
        .merge(page::routes())
        .merge(docs::routes())
        .route("/health", get(health::service))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(webhook::keys))
        .route("/v1/apps", get(apps::list))
        .route("/v1/jobs", post(jobs::submit).get(job_list::list))
        .route("/v1/jobs/{id}", get(jobs::status).delete(jobs::cancel))
        .route("/v1/jobs/{id}/events", get(events::follow))
        .route("/v1/jobs/{id}/image", get(jobs::image))
        .route("/files/{name}", get(files::file))
        .fallback(async |uri: Uri| ApiError::PathUnknown(uri.path().to_owned()));
    // For operators: no web page of another origin may read them.
    let operators = Router::new()
        .route("/v1/dead", get(dead::list))
        .route("/v1/dead/{id}/retry", post(dead::retry))
        .route("/v1/workers", get(workers::list));
    // Open to whoever can reach the port, and to no web page.
    let measured = Router::new().route("/metrics", get(metrics::text));
    let open = guarded(own, api, &OWN).merge(guarded(fal::routes(), api, &FAL.wire)).merge(guarded(
        openai::routes(),
        api,
        &OPENAI,
    ));
    for_any_page(open).merge(guarded(operators, api, &OWN)).merge(guarded(measured, api, &OWN))
}
