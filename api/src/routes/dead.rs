//! Lists and retries dead jobs of all tenants. Without keys the id of a job gives control over it, so these routes then
//! work only if the API listens on a loopback address.

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use glimpse_shared::{
    event::FailureCode,
    id::{App, JobId},
    job::{DeadJob, JobState},
    request::FieldError,
    store::Retry,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{jobs::job_id, view::accepted};
use crate::{
    error::ApiError,
    intake::read_query,
    json::json_response,
    state::{Api, ask, in_time},
    submit::{full, unconfirmed},
};

/// The query of the list.
#[derive(Deserialize)]
pub(crate) struct Of {
    app: Option<String>,
}

/// The dead jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadJobs {
    #[schema(max_items = 1000)]
    jobs: Vec<Listed>,
}

/// A job whose last allowed attempt failed.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadJob)]
struct Listed {
    id: JobId,
    app: App,
    code: FailureCode,
    /// Why it failed, for people.
    message: String,
    #[schema(format = DateTime)]
    finished_at: String,
    /// The number of the last attempt, from 1.
    #[schema(minimum = 1)]
    attempts: u32,
}

/// `GET /v1/dead`, newest first.
pub(crate) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<Of>, QueryRejection>,
) -> Result<Response, ApiError> {
    api.for_this_machine(&headers)?;
    let app = app(read_query(query, "app")?.app)?;
    let dead = ask(api.store.dead(app.as_ref())).await?;
    let listed = |dead: DeadJob| Listed {
        id: dead.id,
        app: dead.app,
        code: dead.code,
        message: dead.message,
        finished_at: dead.finished_at.rfc3339(),
        attempts: dead.attempt,
    };
    Ok(json_response(StatusCode::OK, &DeadJobs { jobs: dead.into_iter().map(listed).collect() }))
}

fn app(text: Option<String>) -> Result<Option<App>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<App>() {
        Ok(app) => Ok(Some(app)),
        Err(wrong) => Err(ApiError::field(FieldError::query("app", "app_parsing", wrong.to_string(), &text))),
    }
}

/// The state of a job that must exist, of any tenant.
async fn status(api: &Api, id: JobId) -> Result<JobState, ApiError> {
    ask(api.store.status(id)).await?.ok_or(ApiError::JobUnknown)
}

/// `POST /v1/dead/{id}/retry`: repeated, it returns the same new job.
pub(crate) async fn retry(
    State(api): State<Api>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    api.for_this_machine(&headers)?;
    let old = job_id(path)?;
    in_time(async {
        let state = status(&api, old).await?;
        let app = state.app;
        let mut workers = 0;
        if api.store.status(old.retried()).await?.is_none() {
            // Without a capable worker the new job would end with a start timeout, and would not be on the dead list.
            let served = api.admission.served(&app).await?;
            if !served.can(&state.needs) {
                return Err(ApiError::NoneCapable);
            }
            workers = served.workers;
        }
        match api.store.retry(old).await? {
            Retry::Submitted { id, position } => {
                tracing::info!(job_id = %id, retry_of = %old, %app, position, "submitted");
            }
            Retry::Unconfirmed { id, replicas } => return Err(unconfirmed(&api, id, replicas)),
            Retry::Duplicate { .. } => {}
            Retry::Full { waiting, pace } => return Err(full(&api, waiting, pace, workers)),
            Retry::Unknown => return Err(ApiError::JobUnknown),
        }
        let new = status(&api, old.retried()).await?;
        Ok(accepted(StatusCode::ACCEPTED, new.id, &new.app, new.status, new.position))
    })
    .await
}
