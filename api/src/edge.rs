//! What is the same for every route: bodies have a limit, every answer has an id, and a defect is an answer too.

use std::any::Any;

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any as Every, CorsLayer},
    set_header::SetResponseHeaderLayer,
};
use uuid::Uuid;

use crate::{error::ApiError, state::Api};

/// The id of an answer; where the request waited for a job, the job's.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-fal-request-id");

/// Routes whose requests have a body in bounds and always get an answer.
pub(crate) fn guarded(routes: Router<Api>, api: &Api) -> Router<Api> {
    routes
        .method_not_allowed_fallback(async || ApiError::MethodUnknown)
        // Ours is read by `whole_body`, for every route alike.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), whole_body))
        .layer(CatchPanicLayer::custom(panicked))
}

/// Routes that any web page may ask and read.
pub(crate) fn for_any_page(routes: Router<Api>) -> Router<Api> {
    // To a browser `*` is not Authorization. The others are named for old browsers, to which it is nothing.
    let headers = [
        HeaderName::from_static("*"),
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        HeaderName::from_static("x-fal-target-url"),
    ];
    let cors = CorsLayer::new()
        .allow_origin(Every)
        .allow_methods(Every)
        .allow_headers(headers)
        .expose_headers(Every);
    routes.layer(cors).layer(middleware::map_response(preflight_without_content))
}

/// Gives every answer an id that has none yet. tower-http's layers for request ids would repeat the client's own,
/// and this one is ours: it names the job.
pub(crate) fn with_ids(routes: Router<Api>) -> Router<Api> {
    let id = |_: &Response| Some(id_value(&Uuid::now_v7()));
    routes.layer(SetResponseHeaderLayer::if_not_present(REQUEST_ID, id))
}

/// An id as a header's value.
pub(crate) fn id_value(id: &impl ToString) -> HeaderValue {
    // Ids are UUIDs: always a legal value.
    HeaderValue::from_str(&id.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// fal answers a preflight with 204, tower-http with 200. No other answer has this header.
async fn preflight_without_content(mut response: Response) -> Response {
    if response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS) {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// The last resort: a panic of ours is one client's 500 and a line in the log.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(message, "a route panicked");
    ApiError::Defect.into_response()
}

/// The request with all of its body read.
async fn whole_body(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = match body.is_end_stream() {
        true => Body::empty(),
        false => match api.bodies.read(&parts.headers, body).await {
            Ok(bytes) => Body::from(bytes),
            Err(error) => return error.into_response(),
        },
    };
    next.run(Request::from_parts(parts, body)).await
}
