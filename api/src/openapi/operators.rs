//! Our own routes for operators.

use utoipa::openapi::HttpMethod;

use super::{
    answer::{LOCATION, json},
    draft::Draft,
    errors::{ON_OUR_OWN, of_bodies, of_operators, of_the_store, unconfirmed},
    field::{string, uuid},
    route::Route,
};
use crate::{
    error::ApiError,
    keys::Scope,
    routes::{dead::DeadJobs, view::AcceptedJob, workers::WorkerList},
};

pub(super) const TAG: &str = "fleet";

/// What [`App`](glimpse_shared::id::App) accepts, in a query and in a field.
pub(super) const APP: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

pub(super) fn describe(draft: &mut Draft) {
    workers(draft);
    dead(draft);
    retry(draft);
}

fn workers(draft: &mut Draft) {
    let list = draft.schema::<WorkerList>();
    let route = Route::new("listWorkers", TAG, "Lists the live workers")
        .answer(200, json("The workers.", list))
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Admin);
    draft.add(HttpMethod::Get, "/v1/workers", route);
}

fn dead(draft: &mut Draft) {
    let list = draft.schema::<DeadJobs>();
    let route =
        Route::new("listDeadJobs", TAG, "Lists the jobs whose last allowed attempt failed, newest first")
            .query("app", string().pattern(Some(APP)), "Only jobs of this app")
            .answer(200, json("The jobs.", list))
            .errors(draft, &ON_OUR_OWN, &of_operators())
            .errors(draft, &ON_OUR_OWN, &[ApiError::Fields(Vec::new())])
            .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Admin);
    draft.add(HttpMethod::Get, "/v1/dead", route);
}

fn retry(draft: &mut Draft) {
    let accepted = draft.schema::<AcceptedJob<'_>>();
    let accepted = json("The new job; the same one for a repeated retry.", accepted);
    let full = ApiError::QueueFull { waiting: 0, retry_after: std::time::Duration::ZERO };
    let unknown = ApiError::AppUnknown { app: String::new(), served: Vec::new() };
    let route = Route::new("retryDeadJob", TAG, "Submits a dead job again, as a new job")
        .path("id", uuid(), "The dead job")
        .answer(202, accepted.header(LOCATION))
        .errors(draft, &ON_OUR_OWN, &of_operators())
        .errors(draft, &ON_OUR_OWN, &[ApiError::JobUnknown, unknown, ApiError::NoneCapable, full])
        .errors(draft, &ON_OUR_OWN, unconfirmed().as_slice())
        .errors(draft, &ON_OUR_OWN, &of_bodies())
        .errors(draft, &ON_OUR_OWN, &of_the_store());
    let route = route.keyed(draft, &ON_OUR_OWN, Scope::Admin);
    draft.add(HttpMethod::Post, "/v1/dead/{id}/retry", route);
}
