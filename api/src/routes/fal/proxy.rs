//! fal's JavaScript client can send all its requests to one address, with the real address in a header. Nothing is
//! fetched: fal's hosts stand for our own routes.

use axum::http::HeaderMap;
use reqwest::Url;

use super::token;
use crate::error::ApiError;

/// The address for such requests.
pub(crate) const PATH: &str = "/api/fal/proxy";

/// The real address of a request.
pub(super) struct Target {
    /// Whether it is on the host of the queue.
    pub(super) is_queue: bool,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

/// The real address of a request; `None` if it is not one of fal's apps, of its queue or of its tokens.
pub(super) fn target(headers: &HeaderMap) -> Option<Target> {
    let url = headers.get("x-fal-target-url")?.to_str().ok()?;
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "https" && url.port().is_none())?;
    let is_queue = match url.host_str()? {
        "fal.run" => false,
        "queue.fal.run" => true,
        "rest.fal.ai" if url.path().trim_end_matches('/') == token::PATH => false,
        _ => return None,
    };
    Some(Target { is_queue, path: url.path().to_owned(), query: url.query().map(str::to_owned) })
}

/// [`PATH`] with another address.
pub(super) async fn unknown() -> ApiError {
    ApiError::TargetUnknown
}
