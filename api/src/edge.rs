//! Layers for all routes: body limits, a request id on every response, CORS, and a response for panics.

use std::any::Any;

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glimpse_shared::id::JobId;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, Any as Every, CorsLayer},
};
use uuid::Uuid;

use crate::{
    connection::HostUnclear,
    encoding::Encoding,
    error::ApiError,
    guard::{Needs, guard},
    keys::CorsOrigin,
    state::Api,
    traced::traced,
    wire::Wire,
};

/// The id of a response; the job's id if the request waited for a job.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same, by fal's name.
const FAL_REQUEST_ID: HeaderName = HeaderName::from_static("x-fal-request-id");

/// Routes of a wire, which let in who has what they need, whose bodies are limited and that always get a response. Requests
/// that change something are traced.
pub(crate) fn guarded(routes: Router<Api>, api: &Api, wire: &Wire, needs: Needs) -> Router<Api> {
    let routes = routes
        .method_not_allowed_fallback(async || ApiError::MethodUnknown)
        // `whole_body` has our own limit, for all routes.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), whole_body))
        .layer(middleware::from_fn_with_state((api.clone(), needs), guard))
        .layer(CatchPanicLayer::custom(panicked));
    wire.reported(routes).layer(middleware::from_fn(traced))
}

/// Routes that web pages of any origin may call.
pub(crate) fn for_any_page(routes: Router<Api>) -> Router<Api> {
    for_pages(routes, AllowOrigin::any())
}

/// Routes that web pages of these origins may call.
pub(crate) fn for_pages_of(routes: Router<Api>, origins: &[CorsOrigin]) -> Router<Api> {
    let named = origins.iter().map(|origin| match origin {
        CorsOrigin::Any => None,
        CorsOrigin::Of(origin) => Some(origin.clone()),
    });
    match named.collect::<Option<Vec<_>>>() {
        // Then a preflight is a request without a key.
        Some(named) if named.is_empty() => routes,
        Some(named) => for_pages(routes, AllowOrigin::list(named)),
        None => for_any_page(routes),
    }
}

fn for_pages(routes: Router<Api>, origins: AllowOrigin) -> Router<Api> {
    // In browsers `*` does not include Authorization. The other headers are for old browsers that do not support `*`.
    let headers = [
        HeaderName::from_static("*"),
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        HeaderName::from_static("x-fal-target-url"),
    ];
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(Every)
        .allow_headers(headers)
        .expose_headers(Every);
    routes
        .layer(cors)
        .layer(middleware::map_response(preflight_without_content))
        .layer(middleware::map_response(without_permission))
}

/// Takes from a response of such a route the permission that web pages read it.
pub(crate) fn not_for_pages(mut response: Response) -> Response {
    response.extensions_mut().insert(NotForPages);
    response
}

/// The mark of a response that no web page may read.
#[derive(Clone, Copy)]
struct NotForPages;

async fn without_permission(mut response: Response) -> Response {
    if response.extensions_mut().remove::<NotForPages>().is_some() {
        let headers = response.headers_mut();
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    response
}

/// Adds an id to every response that has none. tower-http's layers for request ids would return the client's own id,
/// but our id names the job.
pub(crate) fn with_ids(routes: Router<Api>) -> Router<Api> {
    let named = async |mut response: Response| {
        let headers = response.headers_mut();
        let id = headers.get(REQUEST_ID).cloned().unwrap_or_else(|| id_value(&Uuid::now_v7()));
        headers.insert(FAL_REQUEST_ID, id.clone());
        headers.insert(REQUEST_ID, id);
        response
    };
    routes.layer(middleware::map_response(named))
}

/// The response with the id of its job.
pub(crate) fn with_id(mut response: Response, id: JobId) -> Response {
    response.headers_mut().insert(REQUEST_ID, id_value(&id));
    response
}

/// An id as a header's value.
fn id_value(id: &impl ToString) -> HeaderValue {
    // Ids are UUIDs, which are always valid values.
    HeaderValue::from_str(&id.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Changes the status of a preflight's response from 200 (tower-http) to 204 (fal). Only a preflight has this header.
async fn preflight_without_content(mut response: Response) -> Response {
    if response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS) {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// The response to a panic in a route: 500 and a log line.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(message, "a route panicked");
    ApiError::Defect.into_response()
}

/// Reads the whole body before the route runs.
async fn whole_body(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.extensions().get::<HostUnclear>().is_some() {
        return ApiError::HostUnclear.into_response();
    }
    let (mut parts, body) = request.into_parts();
    let body = match body.is_end_stream() {
        true => Body::empty(),
        false => match content(&api, &mut parts.headers, body).await {
            Ok(bytes) => Body::from(bytes),
            Err(error) => return error.into_response(),
        },
    };
    next.run(Request::from_parts(parts, body)).await
}

/// The content of a body. The headers are then those of a body that is not compressed.
async fn content(api: &Api, headers: &mut HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    // Also if the encoding is unknown: a client reads the response only after it has sent its body.
    let body = api.bodies.read(headers, body).await;
    match Encoding::of(headers)? {
        Encoding::Identity => body,
        Encoding::Gzip => {
            let (inflating, body) = (api.clone(), body?);
            let content = api.requests.run(move || inflating.bodies.inflated(&body)).await??;
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            Ok(content)
        }
    }
}
