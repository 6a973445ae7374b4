//! Opens a realtime connection.

use axum::{
    Extension,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
};
use glimpse_shared::{
    id::App,
    request::{FieldError, Task},
};
use serde::Deserialize;

use super::session::Session;
use crate::{
    connection::RawConnection,
    error::ApiError,
    reader::Reader,
    state::{Api, in_time},
};

/// The largest message from a client, in bytes, if `--body-limit` allows it.
const LARGEST_MESSAGE: u64 = 4 << 20;

/// How many inputs of a connection may wait.
const BUFFERING: std::ops::RangeInclusive<usize> = 1..=60;

/// The query of a realtime connection. The guard reads fal's token in it.
#[derive(Deserialize)]
pub(in crate::routes::fal) struct Options {
    max_buffering: Option<String>,
}

/// `GET /{owner}/{app}/realtime`: upgrades the connection to a WebSocket.
pub(in crate::routes::fal) async fn connect(
    State(api): State<Api>,
    reader: Reader,
    path: Result<Path<(String, String)>, PathRejection>,
    (Extension(task), Extension(raw)): (Extension<Task>, Extension<RawConnection>),
    query: Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Ok(Path((owner, name))) = path else {
        return Err(ApiError::PathUnknown("(no UTF-8)".to_owned()));
    };
    let upgrade = upgrade.map_err(|_| ApiError::NoWebSocket)?;
    let buffering = buffering(query.ok().and_then(|Query(options)| options.max_buffering))?;
    served(&api, &format!("{owner}/{name}")).await?;
    if api.draining.is_cancelled() {
        return Err(ApiError::Ending);
    }
    let place = api.stream()?;
    let limit = usize::try_from(LARGEST_MESSAGE.min(api.config.body_limit)).unwrap_or(usize::MAX);
    // The shutdown waits for it, also after the HTTP connection has ended.
    let open = api.connections.token();
    let session = Session { reader, owner, name, task, headers, buffering, raw };
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit);
    Ok(upgrade.on_upgrade(move |socket| async move {
        session.run(socket).await;
        drop((open, place));
    }))
}

/// Whether the app exists: an error can have its own status only before the upgrade.
async fn served(api: &Api, app: &str) -> Result<(), ApiError> {
    in_time(async {
        match app.parse::<App>() {
            Ok(app) => api.admission.served(&app).await.map(drop),
            Err(_) => Err(ApiError::AppUnknown { app: app.to_owned(), served: api.admission.apps().await? }),
        }
    })
    .await
}

fn buffering(value: Option<String>) -> Result<usize, ApiError> {
    let Some(value) = value else { return Ok(*BUFFERING.end()) };
    let number = value.parse().ok().filter(|number| BUFFERING.contains(number));
    number.ok_or_else(|| {
        let rule = "Input should be a whole number from 1 to 60";
        ApiError::field(FieldError::query("max_buffering", "int_range", rule, &value))
    })
}
