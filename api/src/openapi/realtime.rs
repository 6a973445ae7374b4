//! fal's realtime connections. OpenAPI has no words for the messages of a WebSocket: `docs/protocol.md` has them.

use utoipa::openapi::HttpMethod;

use super::{
    answer::{empty, json},
    draft::Draft,
    errors::{ON_FALS, of_bodies, of_the_store},
    fal::{TAG, TASKS, summary, to_app},
    field::{integer, string},
    route::Route,
};
use crate::error::ApiError;
use crate::keys::Scope;

pub(super) fn describe(draft: &mut Draft) {
    for (task, path, name) in TASKS {
        let what = summary("Opens a WebSocket that makes pictures", task);
        let app_unknown = ApiError::AppUnknown { app: String::new(), served: Vec::new() };
        let errors = [
            ApiError::NoWebSocket,
            ApiError::Fields(Vec::new()),
            app_unknown,
            ApiError::StreamsFull { limit: 0 },
        ];
        let route = to_app(Route::new(&format!("realtime{name}"), TAG, &what))
            .query("max_buffering", integer(1, 60), "How many inputs wait; then the oldest is dropped")
            .answer(101, empty("The connection is a WebSocket."))
            .errors(draft, &ON_FALS, &errors)
            .errors(draft, &ON_FALS, &[ApiError::Ending])
            .errors(draft, &ON_FALS, &of_the_store())
            .errors(draft, &ON_FALS, &of_bodies());
        let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
        draft.add(HttpMethod::Get, &format!("/{{owner}}/{{app}}{path}/realtime"), route);
    }
    let token = string().min_length(Some(32)).max_length(Some(64)).into();
    let route = Route::new("createToken", TAG, "Gives the token that fal's clients ask for")
        .says(
            "For the query `fal_jwt_token` of a realtime connection, within two minutes. Without keys a connection is open \
             with any token and without one.",
        )
        .answer(200, json("A token.", token))
        .errors(draft, &ON_FALS, &of_bodies());
    let route = route.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Post, "/tokens", route);
}
