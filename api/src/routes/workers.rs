//! `GET /v1/workers`: who serves what.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use glimpse_shared::job::{SeenWorker, WorkerRecord};
use serde::Serialize;

use crate::{
    error::{ApiError, json_response},
    state::{Api, in_time},
};

/// How long after it was last seen a worker is listed.
const LISTED: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct WorkerList {
    workers: Vec<ListedWorker>,
}

#[derive(Serialize)]
struct ListedWorker {
    #[serde(flatten)]
    record: WorkerRecord,
    last_seen: String,
}

/// The workers seen lately, by id.
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let (now, seen) = in_time(async { Ok((api.store.now().await?, api.store.workers().await?)) }).await?;
    let lately = |worker: &SeenWorker| now.since(worker.last_seen) <= LISTED;
    let workers = seen
        .into_iter()
        .filter(lately)
        .map(|seen| ListedWorker { record: seen.record, last_seen: seen.last_seen.rfc3339() })
        .collect();
    Ok(json_response(StatusCode::OK, &WorkerList { workers }))
}
