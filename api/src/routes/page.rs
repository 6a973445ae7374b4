//! `GET /`: the web page, embedded in the binary.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{error::ApiError, public_address::PublicUrl, state::Api};

const HTML: &str = include_str!("../playground/index.html");
const STYLE: &str = include_str!("../playground/style.css");
const SCRIPT: &str = include_str!("../playground/page.js");
const KEYED: &str = include_str!("../playground/keyed.js");

/// The page may load only the files that this server embeds, and pictures: those in events, and those that it keeps,
/// also behind a redirect to a bucket.
fn policy(api: &Api) -> String {
    let origins = [
        api.config.public_url.as_ref().map(PublicUrl::origin),
        api.config.results.as_ref().and_then(|results| results.bucket_origin().map(str::to_owned)),
    ];
    let kept: String = origins.into_iter().flatten().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{kept}; connect-src \
         'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page and its files.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(|State(api)| file(api, "text/html; charset=utf-8", HTML)))
        .route("/playground/style.css", get(|State(api)| file(api, "text/css; charset=utf-8", STYLE)))
        .route("/playground/page.js", get(|State(api)| file(api, "text/javascript; charset=utf-8", SCRIPT)))
        .route("/playground/keyed.js", get(|State(api)| file(api, "text/javascript; charset=utf-8", KEYED)))
}

/// A file that is embedded in the binary.
pub(super) async fn file(
    api: Api,
    content_type: &'static str,
    text: &'static str,
) -> Result<Response, ApiError> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy(&api)).map_err(|_| ApiError::Defect)?),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Another version of the program has another page under the same URL.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, text).into_response())
}
