//! Health, the web pages and this document.

use utoipa::openapi::{
    HttpMethod, Object,
    schema::{SchemaType, Type},
};

use super::{
    answer::{RETRY_AFTER, file, json},
    draft::Draft,
    errors::ON_OUR_OWN,
    field::string,
    route::Route,
};
use crate::{error::ApiError, routes::health::Health};

pub(super) const HEALTH: &str = "health";
pub(super) const TAG: &str = "pages";

/// Each file of a web page: its path, the name of the call, what it is, and its media type.
const FILES: [(&str, &str, &str, &str); 4] = [
    ("/", "getPage", "The page that makes pictures", "text/html"),
    ("/docs", "getDocs", "This document for people", "text/html"),
    ("/docs/style.css", "getDocsStyle", "The style of the document for people", "text/css"),
    ("/docs/page.js", "getDocsScript", "The script of the document for people", "text/javascript"),
];

pub(super) fn describe(draft: &mut Draft) {
    let health = draft.schema::<Health>();
    let live =
        Route::new("isLive", HEALTH, "Answers while the process runs, even if the store is unavailable")
            .answer(200, json("The process runs.", health.clone()));
    draft.add(HttpMethod::Get, "/health/live", live);
    let away = json("The store does not work; `detail` says why.", health.clone());
    let away = away.header(RETRY_AFTER);
    let ready = Route::new("isReady", HEALTH, "Says whether the process can serve requests")
        .answer(200, json("The store works, and the process accepts requests.", health))
        .answer(503, away)
        .errors(draft, &ON_OUR_OWN, &[ApiError::Ending]);
    draft.add(HttpMethod::Get, "/health/ready", ready);
    let none = json(
        "No worker takes jobs, or the store does not work; `detail` says why.",
        draft.schema::<Health>(),
    );
    let route = Route::new("isServing", HEALTH, "Says whether a worker is alive and takes jobs")
        .answer(200, json("At least one worker takes jobs.", draft.schema::<Health>()))
        .answer(503, none.header(RETRY_AFTER))
        .errors(draft, &ON_OUR_OWN, &[ApiError::Ending]);
    draft.add(HttpMethod::Get, "/health", route);
    let metrics = Route::new("getMetrics", HEALTH, "The metrics of this process, for Prometheus")
        .answer(200, file("Prometheus' text format, version 0.0.4.", &["text/plain"]));
    draft.add(HttpMethod::Get, "/metrics", metrics);
    for (path, name, summary, media_type) in FILES {
        draft.add(
            HttpMethod::Get,
            path,
            Route::new(name, TAG, summary).answer(200, file("The file.", &[media_type])),
        );
    }
    let of_page = Route::new("getPageFile", TAG, "A script or a style of the page that makes pictures")
        .path("name", string(), "The file")
        .answer(200, file("The file.", &["text/javascript", "text/css"]))
        .errors(draft, &ON_OUR_OWN, &[ApiError::PathUnknown(String::new())]);
    draft.add(HttpMethod::Get, "/playground/{name}", of_page);
    let anything = Object::builder().schema_type(SchemaType::from(Type::Object)).into();
    let document = Route::new("getOpenApi", TAG, "This document").answer(
        200,
        json("An OpenAPI 3.1 document, whose `servers` is the address of the request.", anything),
    );
    draft.add(HttpMethod::Get, "/openapi.json", document);
}
