//! The address to which fal's JavaScript client sends its requests, with the real one in a header.

use glimpse_shared::request::Task;
use utoipa::openapi::HttpMethod;

use super::{
    answer::{any_of, event, events, json},
    draft::Draft,
    errors::{ON_FALS, of_bodies, of_ends, of_submits, of_the_store, of_waiting},
    fal::{TAG, streamed},
    fal_body::body,
    field::string,
    queue::{of_cancel, statuses},
    route::Route,
};
use crate::{
    error::ApiError,
    keys::Scope,
    routes::fal::{
        proxy::PATH,
        queue::{Cancelled, Submitted},
        status::RequestStatus,
    },
    wire::Pictures,
};

pub(super) fn describe(draft: &mut Draft) {
    let bodies = [Task::Any, Task::ImageToImage, Task::Inpainting].map(|task| body(draft, task));
    let answers = vec![draft.schema::<Pictures<'_>>(), draft.schema::<Submitted>()];
    let event = event(streamed(draft));
    let post = to_target("proxyPost", "Makes pictures, or submits a request")
        .body(any_of(bodies.into()))
        .answer(200, json("The answer of the route.", any_of(answers)))
        .answer(200, events("The events of the route.", event))
        .errors(draft, &ON_FALS, &[ApiError::TargetUnknown, ApiError::InputEnded])
        .errors(draft, &ON_FALS, &of_submits())
        .errors(draft, &ON_FALS, &of_waiting());
    let post = post.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Post, PATH, post);

    let (state, pictures) = (draft.schema::<RequestStatus>(), draft.schema::<Pictures<'_>>());
    let get = statuses(to_target("proxyGet", "Reads a request of the queue"), &state)
        .answer(200, json("The pictures.", pictures))
        .answer(200, events("Its status as it changes.", self::event(state)))
        .errors(draft, &ON_FALS, &[ApiError::TargetUnknown, ApiError::JobUnknown, ApiError::StillRunning])
        .errors(draft, &ON_FALS, &[ApiError::StreamsFull { limit: 0 }])
        .errors(draft, &ON_FALS, &of_ends())
        .errors(draft, &ON_FALS, &of_the_store());
    let get = get.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Get, PATH, get);

    let cancelled = draft.schema::<Cancelled>();
    let put = of_cancel(to_target("proxyPut", "Cancels a request of the queue"), &cancelled)
        .errors(draft, &ON_FALS, &[ApiError::TargetUnknown])
        .errors(draft, &ON_FALS, &of_bodies())
        .errors(draft, &ON_FALS, &of_the_store());
    let put = put.keyed(draft, &ON_FALS, Scope::Jobs);
    draft.add(HttpMethod::Put, PATH, put);
}

fn to_target(name: &str, summary: &str) -> Route {
    let text = "The address of the route on `https://fal.run` or `https://queue.fal.run`, which stand for the routes \
                here; nothing is fetched";
    Route::new(name, TAG, summary).header("X-Fal-Target-Url", string(), text)
}
