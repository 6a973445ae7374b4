//! Reads a request as fal's clients write it.

use axum::{
    extract::{Path, rejection::PathRejection},
    http::HeaderMap,
};
use bytes::Bytes;
use glimpse_shared::{
    request::{Dialect, FieldError, Names, Task},
    webhook::Webhook,
};

use crate::{
    accept::{Entered, Terms, accept},
    config::OnDisconnect,
    error::ApiError,
    intake::Headers,
    reader::Reader,
    wire::FAL,
};

/// The path of an app: owner, name.
pub(super) type AppPath = Result<Path<(String, String)>, PathRejection>;

/// Checks a request and submits its job. `on_disconnect` replaces what the client may choose. An invalid webhook is
/// reported together with the other errors.
pub(super) async fn enter(
    reader: &Reader,
    path: AppPath,
    task: Task,
    headers: &HeaderMap,
    body: Bytes,
    on_disconnect: Option<OnDisconnect>,
    webhook: Result<Option<Webhook>, FieldError>,
) -> Result<Entered, ApiError> {
    let api = reader.api();
    let app = match path {
        Ok(Path((owner, name))) => format!("{owner}/{name}"),
        Err(_) => "(no UTF-8)".to_owned(),
    };
    let mut headers = Headers::new(headers);
    let webhook = webhook.unwrap_or_else(|error| {
        headers.errors.push(error);
        None
    });
    let terms = Terms {
        caller: reader.caller().clone(),
        class: headers.class(),
        start_timeout: headers.start_timeout().unwrap_or(api.config.start_timeout),
        on_disconnect: {
            let chosen = headers.on_disconnect().unwrap_or(api.config.on_disconnect);
            on_disconnect.unwrap_or(chosen)
        },
        traceparent: headers.traceparent(),
        webhook,
        errors: headers.errors,
    };
    let dialect = Dialect { names: Names::Fal(task), ..FAL.wire.reads };
    accept(api, &app, terms, body, dialect).await
}
