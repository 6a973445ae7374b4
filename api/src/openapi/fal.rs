//! fal's routes whose clients wait on the connection of their request.

use glimpse_shared::{event::Image, request::Task};
use utoipa::{
    ToSchema,
    openapi::{HttpMethod, ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    answer::{any_of, event, events, json},
    draft::Draft,
    errors::{ON_FALS, of_submits, of_waiting},
    fal_body::body,
    field::{number, string},
    route::Route,
};
use crate::{
    config::{LONGEST, SHORTEST},
    error::ApiError,
    keys::Scope,
    wire::{Pictures, StreamedError},
};

pub(super) const TAG: &str = "fal";

/// Each endpoint of fal's: what it does, the end of its path, and the end of the names of its calls.
pub(super) const TASKS: [(Task, &str, &str); 3] = [
    (Task::Any, "", ""),
    (Task::ImageToImage, "/image-to-image", "ImageToImage"),
    (Task::Inpainting, "/inpainting", "Inpainting"),
];

/// The `data` of an event of a stream before its end: a preview.
#[derive(ToSchema)]
#[allow(dead_code, reason = "wire/fal.rs writes these members without copying the pictures")]
struct StreamedPicture {
    image: Image,
}

pub(super) fn describe(draft: &mut Draft) {
    for (task, path, name) in TASKS {
        let (request, pictures) = (body(draft, task), draft.schema::<Pictures<'_>>());
        let run = to_app(Route::new(&format!("run{name}"), TAG, &summary("Makes pictures", task)))
            .body(request.clone())
            .answer(200, json("The pictures.", pictures))
            .errors(draft, &ON_FALS, &of_submits())
            .errors(draft, &ON_FALS, &of_waiting())
            .errors(draft, &ON_FALS, &[ApiError::InputEnded]);
        let run = run.keyed(draft, &ON_FALS, Scope::Jobs);
        draft.add(HttpMethod::Post, &format!("/{{owner}}/{{app}}{path}"), run);
        let event = event(streamed(draft));
        let stream = to_app(Route::new(
            &format!("stream{name}"),
            TAG,
            &summary("Sends the previews, then the pictures", task),
        ))
        .says("The events have only `data:`. The last one is what the route without `/stream` answers; then the body ends.")
        .body(request)
        .answer(200, events("The previews and the pictures.", event))
        .errors(draft, &ON_FALS, &of_submits())
        .errors(draft, &ON_FALS, &of_waiting());
        let stream = stream.keyed(draft, &ON_FALS, Scope::Jobs);
        draft.add(HttpMethod::Post, &format!("/{{owner}}/{{app}}{path}/stream"), stream);
    }
}

/// What a route of an endpoint does.
pub(super) fn summary(what: &str, task: Task) -> String {
    match task {
        Task::Any => what.to_owned(),
        Task::ImageToImage => format!("{what}, from an input picture"),
        Task::Inpainting => format!("{what}, in the masked part of an input picture"),
    }
}

/// The schema of the events of a stream.
pub(super) fn streamed(draft: &mut Draft) -> RefOr<Schema> {
    let events = [
        draft.schema::<Pictures<'_>>(),
        draft.schema::<StreamedPicture>(),
        draft.schema::<StreamedError<'_>>(),
    ];
    any_of(events.into())
}

/// A part of the name of an app.
pub(super) fn part() -> ObjectBuilder {
    string().pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")).min_length(Some(1)).max_length(Some(64))
}

/// The parts of the path of an app, and the headers of a request to it.
pub(super) fn to_app(route: Route) -> Route {
    let seconds = number(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64()).schema_type(Type::Number);
    let word = |words: [&'static str; 2]| string().enum_values(Some(words));
    route
        .path("owner", part(), "The first part of the app's name")
        .path("app", part(), "The second part of the app's name")
        .header("X-Fal-Request-Timeout", seconds, "Seconds within which a worker must take the request")
        .header("X-Fal-Queue-Priority", word(["normal", "low"]), "`low` waits behind all normal requests")
        .header(
            "X-Glimpse-On-Disconnect",
            word(["cancel", "detach"]),
            "What happens to the request when its client disconnects; for a request of the queue it has no effect",
        )
}
