//! `GET /v1/workers`: the live workers.

use axum::{extract::State, http::StatusCode, response::Response};
use glimpse_shared::job::WorkerRecord;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admission::is_alive,
    error::ApiError,
    json::json_response,
    state::{Api, in_time},
};

/// The live workers, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkerList {
    workers: Vec<ListedWorker>,
}

/// A worker, and the time of its last heartbeat.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
struct ListedWorker {
    #[serde(flatten)]
    record: WorkerRecord,
    #[schema(format = DateTime)]
    last_seen: String,
}

/// The workers with a recent heartbeat, by id.
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let (now, seen) = in_time(async { Ok((api.store.now().await?, api.store.workers().await?)) }).await?;
    let workers = seen
        .into_iter()
        .filter(|worker| is_alive(worker, now))
        .map(|seen| ListedWorker { record: seen.record, last_seen: seen.last_seen.rfc3339() })
        .collect();
    Ok(json_response(StatusCode::OK, &WorkerList { workers }))
}
