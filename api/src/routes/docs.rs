//! The description of the routes, for programs (`/openapi.json`) and for people (`/docs`).

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::get,
};

use super::page::file;
use crate::{json::json_response, openapi, origin::origin, state::Api};

const HTML: &str = include_str!("../reference/index.html");
const STYLE: &str = include_str!("../reference/style.css");
const SCRIPT: &str = include_str!("../reference/page.js");

/// The description, and the page that shows it. The page loads nothing from other servers.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/openapi.json", get(description))
        .route("/docs", get(|State(api)| file(api, "text/html; charset=utf-8", HTML)))
        .route("/docs/style.css", get(|State(api)| file(api, "text/css; charset=utf-8", STYLE)))
        .route("/docs/page.js", get(|State(api)| file(api, "text/javascript; charset=utf-8", SCRIPT)))
}

/// `GET /openapi.json`: `docs/openapi.json` for the server that the client reached.
async fn description(State(api): State<Api>, parts: Parts) -> Response {
    let mut response = json_response(StatusCode::OK, &openapi::document(&origin(&api, &parts)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
