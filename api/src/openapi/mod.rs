//! The OpenAPI document of every route, `docs/openapi.json`.
//!
//! To describe a new route, add it to the file of its wire, or add a file with a function that takes a [`Draft`] and
//! call it in [`described`]. A route is one [`Route`](route::Route): what it takes, what it answers, and the errors that can
//! occur. The schema of an answer is derived (`ToSchema`) by the type that is serialised. The schema of a body is in
//! `picture.rs`, with the numbers of `glimpse_shared::request::limits`. The status of an error is asked from the wire; a
//! wire with its own form of errors is another [`ErrorForm`](errors::ErrorForm). Then rewrite the document:
//!
//! ```text
//! GLIMPSE_WRITE_OPENAPI=1 cargo test -p glimpse-api --lib openapi
//! ```
//!
//! Tests fail if a route of the router is not here, if a route here is not in the router, if the file is old, and if a
//! bound is not the bound of the check.

mod answer;
mod controlnet;
mod draft;
mod errors;
mod fal;
mod fal_body;
mod field;
mod members;
mod openai;
mod operators;
mod own;
mod page;
mod picture;
mod proxy;
mod queue;
mod realtime;
mod route;
mod sampler;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use utoipa::openapi::{
    Info, License, OpenApi, OpenApiBuilder, Server,
    tag::{Tag, TagBuilder},
};

use draft::Draft;

/// The tags of the routes, and what they have in common.
const TAGS: [(&str, &str); 7] = [
    (own::TAG, "A job continues without its client, which follows it by its id."),
    (
        operators::TAG,
        "The fleet, for operators. Without keys no web page of another origin may read these routes.",
    ),
    (fal::TAG, "fal's routes: a client waits for its pictures on the connection of its request."),
    (queue::TAG, "fal's queue: a client submits a request, and asks for its result later."),
    (openai::TAG, "OpenAI's routes for pictures. Errors are 400 where the other wires have 422."),
    (page::HEALTH, "Whether a process is alive, and whether it can serve requests."),
    (page::TAG, "Web pages, and this document."),
];

/// The document, for clients that reach the API at `server`.
pub(crate) fn document(server: &str) -> OpenApi {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(described);
    let mut document = DOCUMENT.clone();
    document.servers = Some(vec![Server::new(server)]);
    document
}

fn described() -> OpenApi {
    let mut draft = Draft::default();
    own::describe(&mut draft);
    operators::describe(&mut draft);
    fal::describe(&mut draft);
    queue::describe(&mut draft);
    proxy::describe(&mut draft);
    realtime::describe(&mut draft);
    openai::describe(&mut draft);
    page::describe(&mut draft);
    let Draft { paths, mut components } = draft;
    components.security_schemes.extend(route::schemes());
    components.headers.extend(answer::headers().map(|(name, header)| (name.to_owned(), header)));
    let mut info = Info::new("Glimpse", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "A self-hosted fleet for SDXL image generation, with previews while a picture forms. Every response has \
         `X-Request-Id`. A body may be compressed (`Content-Encoding: gzip`). A `/` at the end of a path does not count."
            .to_owned(),
    );
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    info.license = Some(license);
    OpenApiBuilder::new().info(info).tags(Some(tags())).paths(paths).components(Some(components)).build()
}

fn tags() -> Vec<Tag> {
    let tag = |(name, text): (&str, &str)| TagBuilder::new().name(name).description(Some(text)).build();
    TAGS.into_iter().map(tag).collect()
}
