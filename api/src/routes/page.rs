//! `GET /`: the web page, embedded in the binary.

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{error::ApiError, public_address::PublicUrl, state::Api};

const HTML: &str = include_str!("../playground/index.html");

/// The names and the texts of these files.
macro_rules! embedded {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../playground/", $name)))),*] };
}

/// The files that the page loads.
const FILES: [(&str, &str); 30] = embedded! {
    "style.css" "view.css" "actions.js" "apps.js" "branch.js" "brush.js" "compare.js" "drop.js" "events.js"
    "fields.js" "fleet.js" "form.js" "gallery.js" "history.js" "input.js" "job.js" "key.js" "keys.js"
    "loras.js" "making.js" "page.js" "parts.js" "pictures.js" "progress.js" "queue.js" "refusal.js" "says.js"
    "show.js" "snippets.js" "strip.js"
};

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
        .route("/playground/{name}", get(of_page))
}

/// One of the files that the page loads.
async fn of_page(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let known = path.ok().and_then(|Path(name)| FILES.iter().find(|(each, _)| *each == name));
    let (name, text) = known.ok_or_else(|| ApiError::PathUnknown(uri.path().to_owned()))?;
    let content_type =
        if name.ends_with(".css") { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" };
    file(api, content_type, text).await
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
