//! The routes. There are three wires (fal's, OpenAI's and our own) for the same jobs.

mod apps;
mod dead;
mod events;
mod fal;
mod files;
mod health;
mod job_list;
mod jobs;
mod openai;
mod page;
mod workers;

use axum::{
    Router,
    http::Uri,
    routing::{get, post},
};
use tower::ServiceExt;

use crate::{
    edge::{for_any_page, guarded, with_ids},
    error::ApiError,
    state::Api,
    wire::{FAL, OPENAI, OWN},
};

/// Every route of the API.
pub(crate) fn router(api: Api) -> Router {
    let own = Router::new()
        .merge(page::routes())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
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
    let open = guarded(own, &api, &OWN).merge(guarded(fal::routes(), &api, &FAL.wire)).merge(guarded(
        openai::routes(),
        &api,
        &OPENAI,
    ));
    let routes = for_any_page(open).merge(guarded(operators, &api, &OWN));
    // Before the routes, because it changes the path.
    Router::new().fallback_service(with_ids(routes).with_state(api).map_request(fal::addressed))
}
