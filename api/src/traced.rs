//! The spans of requests that change something. A job carries the place of its request's span, so that the worker's
//! spans are below it.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, header::HeaderName},
    middleware::Next,
    response::Response,
};
use glimpse_shared::telemetry;
use tracing::{Instrument, Span};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Runs a request in a span, from its arrival to the beginning of its response. Requests that only read have none: they
/// are many, and no job comes of them.
pub(crate) async fn traced(mut request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => return next.run(request).await,
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        // A client may have made it up. OpenTelemetry's word for that.
        _ => "_OTHER",
    };
    // The route and not the path, which may have an id of a job.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let span = entered(&format!("{method} {route}"), request.headers_mut());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    telemetry::note(&span, "http.request.method", method);
    telemetry::note(&span, "http.route", route);
    telemetry::note(&span, "http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        telemetry::fault(&span, "the response is an error of the server");
    }
    telemetry::end(&span);
    response
}

/// The span of a request with these headers. Their traceparent becomes that of the span.
pub(crate) fn entered(name: &str, headers: &mut HeaderMap) -> Span {
    let sent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let (span, place) = telemetry::request(name, sent);
    match HeaderValue::try_from(place.to_string()) {
        Ok(value) => headers.insert(TRACEPARENT, value),
        Err(_) => headers.remove(TRACEPARENT),
    };
    span
}
