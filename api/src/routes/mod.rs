//! The routes. There are three wires (fal's, OpenAI's and our own) for the same jobs.

pub(crate) mod apps;
pub(crate) mod dead;
mod docs;
mod events;
pub(crate) mod fal;
mod files;
pub(crate) mod finish;
pub(crate) mod health;
pub(crate) mod job_list;
mod jobs;
mod metrics;
pub(crate) mod openai;
mod page;
mod range;
pub(crate) mod recipe;
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
    edge::{for_any_page, for_pages_of, guarded, with_ids},
    error::ApiError,
    guard::Needs,
    keys::Scope,
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
    let public = Router::new()
        .merge(page::routes())
        .merge(docs::routes())
        .route("/health", get(health::service))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(webhook::keys))
        .route("/files/{name}", get(files::file));
    let own = Router::new()
        .route("/v1/apps", get(apps::list))
        .route("/v1/recipe", post(recipe::read))
        .route("/v1/jobs", post(jobs::submit).get(job_list::list))
        .route("/v1/jobs/{id}", get(jobs::status).delete(jobs::cancel))
        .route("/v1/jobs/{id}/finish", post(finish::finish))
        .route("/v1/jobs/{id}/events", get(events::follow))
        .route("/v1/jobs/{id}/image", get(jobs::image))
        .fallback(async |uri: Uri| ApiError::PathUnknown(uri.path().to_owned()));
    // Without keys no web page of another origin may read them.
    let operators = Router::new()
        .route("/v1/dead", get(dead::list))
        .route("/v1/dead/{id}/retry", post(dead::retry))
        .route("/v1/workers", get(workers::list));
    let jobs = Needs::Scope(Scope::Jobs);
    // Open to whoever can reach the port, and to no web page.
    let measured = Router::new().route("/metrics", get(metrics::text));
    let measured = guarded(measured, api, &OWN, Needs::Nothing);
    let public = guarded(public, api, &OWN, Needs::Nothing);
    let keyed = guarded(own, api, &OWN, jobs)
        .merge(guarded(fal::routes(), api, &FAL.wire, jobs))
        .merge(guarded(openai::routes(), api, &OPENAI, jobs));
    let operators = guarded(operators, api, &OWN, Needs::Scope(Scope::Admin));
    let shown = match api.keys {
        // fal's clients run in web pages too.
        None => for_any_page(public.merge(keyed)).merge(operators),
        Some(_) => {
            for_any_page(public).merge(for_pages_of(keyed.merge(operators), &api.config.keys.cors_origin))
        }
    };
    shown.merge(measured)
}
