//! fal's routes: a client waits on the connection for the job of its request, or asks the queue for it.

mod address;
mod connected;
mod enter;
mod log;
pub(crate) mod proxy;
pub(crate) mod queue;
mod realtime;
mod stage;
pub(crate) mod status;
mod status_stream;
mod token;

use axum::{
    Extension, Router,
    routing::{get, post, put},
};
use glimpse_shared::request::Task;

pub(crate) use address::addressed;
pub(super) use queue::webhook_body;

use crate::state::Api;

/// Every route of fal's. `/queue` stands for the host of fal's queue.
pub(super) fn routes() -> Router<Api> {
    let request = "/queue/{owner}/{app}/requests/{id}";
    of_task(Task::Any, "")
        .merge(of_task(Task::ImageToImage, "/image-to-image"))
        .merge(of_task(Task::Inpainting, "/inpainting"))
        .route(proxy::PATH, get(proxy::unknown).post(proxy::unknown).put(proxy::unknown))
        .route(token::PATH, post(token::create))
        .route(request, get(queue::result))
        .route(&format!("{request}/status"), get(status::status))
        .route(&format!("{request}/status/stream"), get(status_stream::follow))
        .route(&format!("{request}/cancel"), put(queue::cancel))
}

/// The routes of an endpoint, whose path ends with `path`.
fn of_task(task: Task, path: &str) -> Router<Api> {
    Router::new()
        .route(&format!("/{{owner}}/{{app}}{path}"), post(connected::run))
        .route(&format!("/{{owner}}/{{app}}{path}/stream"), post(connected::stream))
        .route(&format!("/{{owner}}/{{app}}{path}/realtime"), get(realtime::connect))
        .route(&format!("/queue/{{owner}}/{{app}}{path}"), post(queue::submit))
        .layer(Extension(task))
}
