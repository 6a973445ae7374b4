//! fal's queue.

use utoipa::openapi::{HttpMethod, ObjectBuilder, RefOr, Schema};

use super::{
    answer::{Answer, event, events, json},
    draft::Draft,
    errors::{ON_FALS, of_bodies, of_ends, of_submits, of_the_store},
    fal::{TASKS, part, summary, to_app},
    fal_body::body,
    field::{string, url, uuid},
    route::Route,
};
use crate::{
    error::ApiError,
    keys::Scope,
    routes::fal::{
        queue::{Cancelled, Submitted},
        status::RequestStatus,
    },
    wire::Pictures,
};

pub(super) const TAG: &str = "fal's queue";

const REQUEST: &str = "/queue/{owner}/{app}/requests/{id}";

pub(super) fn describe(draft: &mut Draft) {
    for (task, path, name) in TASKS {
        let (request, submitted) = (body(draft, task), draft.schema::<Submitted>());
        let what = summary("Submits a request for pictures", task);
        let route = to_app(Route::new(&format!("submitRequest{name}"), TAG, &what))
            .query(
                "fal_webhook",
                url(),
                "An http or https URL that is called with the result when the request has ended",
            )
            .body(request)
            .answer(200, json("The request is in the queue.", submitted))
            .errors(draft, &ON_FALS, &of_submits());
        let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
        draft.add(HttpMethod::Post, &format!("/queue/{{owner}}/{{app}}{path}"), route);
    }
    let state = draft.schema::<RequestStatus>();
    let route = statuses(of_request(draft, "getRequestStatus", "Says where a request is"), &state);
    let route = route.query("logs", logs(), LOGS).keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Get, &format!("{REQUEST}/status"), route);
    let route = of_request(draft, "followRequest", "Sends the status of a request as it changes")
        .query("logs", logs(), LOGS)
        .answer(200, events("Each event has the log lines since the last one.", event(state)))
        .errors(draft, &ON_FALS, &[ApiError::StreamsFull { limit: 0 }]);
    let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Get, &format!("{REQUEST}/status/stream"), route);
    let pictures = draft.schema::<Pictures<'_>>();
    let route = of_request(draft, "getRequestResult", "Sends the pictures of a request")
        .answer(200, json("The pictures.", pictures))
        .errors(draft, &ON_FALS, &[ApiError::StillRunning])
        .errors(draft, &ON_FALS, &of_ends());
    let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Get, REQUEST, route);
    let cancelled = draft.schema::<Cancelled>();
    let route = of_cancel(Route::new("cancelRequest", TAG, "Cancels a request"), &cancelled);
    let route =
        with_request(route).errors(draft, &ON_FALS, &of_bodies()).errors(draft, &ON_FALS, &of_the_store());
    let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Put, &format!("{REQUEST}/cancel"), route);
}

const LOGS: &str = "`1` or `true` for log lines";

/// fal's JavaScript client always sends `0` or `1`, its Python client `false` or `true`.
fn logs() -> ObjectBuilder {
    string().enum_values(Some(["0", "1", "false", "true"]))
}

fn with_request(route: Route) -> Route {
    route
        .path("owner", part(), "The first part of the app's name")
        .path("app", part(), "The second part of the app's name")
        .path("id", uuid(), "The request")
}

/// A route that reads a request.
fn of_request(draft: &mut Draft, name: &str, summary: &str) -> Route {
    with_request(Route::new(name, TAG, summary)).errors(draft, &ON_FALS, &[ApiError::JobUnknown]).errors(
        draft,
        &ON_FALS,
        &of_the_store(),
    )
}

/// The answers with a status.
pub(super) fn statuses(route: Route, state: &RefOr<Schema>) -> Route {
    route
        .answer(200, json("The request has ended.", state.clone()))
        .answer(202, json("The request is in the queue or in progress.", state.clone()))
}

/// The answers to a cancel.
pub(super) fn of_cancel(route: Route, cancelled: &RefOr<Schema>) -> Route {
    let answer = |text| -> Answer { json(text, cancelled.clone()) };
    route
        .answer(200, answer("It was queued and is cancelled."))
        .answer(202, answer("It was running, or is cancelled already."))
        .answer(400, answer("It has ended."))
        .answer(404, answer("There is no such request, or it has expired."))
}
