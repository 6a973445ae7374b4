//! fal has a host for each service. Here all are on one host: `/queue` stands for the host of the queue, and so does a
//! host whose name begins with `queue.`.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Request},
    http::{
        HeaderMap, header,
        request::Parts,
        uri::{PathAndQuery, Uri},
    },
};
use glimpse_shared::id::{JobId, RESERVED_OWNERS};
use serde::Serialize;
use utoipa::ToSchema;

use super::proxy;
use crate::{origin::origin, state::Api};

/// Marks a request to the queue's own host.
#[derive(Clone, Copy)]
struct QueueHost;

/// Gives a request the path that the routes have for it. A `/` at the end of a path does not count.
pub(crate) fn addressed(mut request: Request) -> Request {
    let uri = request.uri();
    let (mut path, mut query) = (uri.path().to_owned(), uri.query().map(str::to_owned));
    if path.trim_end_matches('/') == proxy::PATH {
        match proxy::target(request.headers()) {
            Some(target) if !is_everywhere(&target.path) => {
                path = if target.is_queue { format!("/queue{}", target.path) } else { target.path };
                query = target.query;
            }
            _ => {}
        }
    } else if is_queue_host(request.headers()) && !is_everywhere(&path) {
        path = format!("/queue{path}");
        request.extensions_mut().insert(QueueHost);
    }
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    let whole = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    if request.uri().path_and_query().is_none_or(|before| before.as_str() == whole) {
        return request;
    }
    // Parts of a valid address are valid.
    if let Ok(whole) = PathAndQuery::try_from(whole) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(whole);
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    request
}

/// Whether a path is the same on every host.
fn is_everywhere(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    // No app has one of these owners.
    matches!(first, "" | ".well-known") || RESERVED_OWNERS.contains(&first)
}

fn is_queue_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    host.and_then(|host| host.get(..6)).is_some_and(|start| start.eq_ignore_ascii_case(b"queue."))
}

/// The absolute address of the queue, as the client reached it.
pub(super) struct QueueAddress(String);

impl FromRequestParts<Api> for QueueAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let origin = origin(api, parts);
        let by_host = parts.extensions.get::<QueueHost>().is_some() && api.config.public_url.is_none();
        Ok(Self(if by_host { origin } else { format!("{origin}/queue") }))
    }
}

/// The absolute addresses of a request in the queue.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct RequestUrls {
    #[schema(format = "uri")]
    response_url: String,
    #[schema(format = "uri")]
    status_url: String,
    #[schema(format = "uri")]
    cancel_url: String,
}

impl QueueAddress {
    /// Of a request to `app`, `owner/name`.
    pub(super) fn request(&self, app: &str, id: JobId) -> RequestUrls {
        let response_url = format!("{}/{app}/requests/{id}", self.0);
        RequestUrls {
            status_url: format!("{response_url}/status"),
            cancel_url: format!("{response_url}/cancel"),
            response_url,
        }
    }
}
