//! fal's queue: a client submits a request, and asks for its result later.

use axum::{
    Extension,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glimpse_shared::{
    id::JobId,
    job::{JobState, Status},
    request::{FieldError, Task},
    store::{Cancel, Shown},
    webhook::{Webhook, WebhookForm},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    address::{QueueAddress, RequestUrls},
    enter::{AppPath, enter},
    stage::Stage,
};
use crate::{
    config::OnDisconnect,
    edge::with_id,
    error::ApiError,
    json::{collected, json_response},
    reader::Reader,
    state::Api,
    waiting::{answer, ended},
    webhooks::Refused,
    wire::FAL,
};

/// The path of a request in the queue: owner, app, id.
pub(super) type RequestPath = Result<Path<(String, String, String)>, PathRejection>;

/// The query of a submit.
#[derive(Deserialize)]
pub(super) struct FalWebhook {
    fal_webhook: Option<String>,
}

/// The answer to a submit.
#[derive(Serialize, ToSchema)]
#[schema(as = SubmittedRequest)]
pub(crate) struct Submitted {
    /// Always `IN_QUEUE`.
    status: Stage,
    request_id: JobId,
    gateway_request_id: JobId,
    /// How many requests are served first.
    queue_position: u64,
    #[serde(flatten)]
    urls: RequestUrls,
}

/// The answer to a cancel.
#[derive(Serialize, ToSchema)]
#[schema(as = CancelledRequest)]
pub(crate) struct Cancelled {
    status: CancelStatus,
}

/// fal's word for the effect of a cancel.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum CancelStatus {
    Ok,
    CancellationRequested,
    AlreadyCompleted,
    NotFound,
}

/// `POST /queue/{owner}/{app}`: answers at once.
pub(super) async fn submit(
    path: AppPath,
    Extension(task): Extension<Task>,
    query: Result<Query<FalWebhook>, QueryRejection>,
    address: QueueAddress,
    reader: Reader,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let webhook = webhook(&reader, query).await;
    let app = path.as_ref().map(|Path((owner, name))| format!("{owner}/{name}")).unwrap_or_default();
    // If the client disconnects before the response, it does not know the id.
    let mut entered = enter(&reader, path, task, &headers, body, Some(OnDisconnect::Cancel), webhook).await?;
    entered.waited.ended();
    let id = entered.waited.id();
    let submitted = Submitted {
        status: Stage::InQueue,
        request_id: id,
        gateway_request_id: id,
        queue_position: entered.position,
        urls: address.request(&app, id),
    };
    Ok(with_id(json_response(StatusCode::OK, &submitted), id))
}

/// The webhook of a submit.
async fn webhook(
    reader: &Reader,
    query: Result<Query<FalWebhook>, QueryRejection>,
) -> Result<Option<Webhook>, FieldError> {
    let refused = |kind, message: &str, url: &str| FieldError::query("fal_webhook", kind, message, url);
    let Ok(Query(FalWebhook { fal_webhook })) = query else {
        return Err(refused("query_parsing", "Input should be one URL, percent-encoded", ""));
    };
    let Some(url) = fal_webhook else { return Ok(None) };
    match reader.api().webhooks.checked(&url).await {
        Ok(()) => Ok(Some(Webhook { url, form: WebhookForm::Fal, origin: reader.origin().to_owned() })),
        Err(Refused { kind, message }) => Err(refused(kind, &message, &url)),
    }
}

/// Parses a request's path: its app and its id.
pub(super) fn request(path: RequestPath) -> Result<(String, JobId), ApiError> {
    let Ok(Path((owner, name, id))) = path else { return Err(ApiError::JobUnknown) };
    let id = id.parse().map_err(|_| ApiError::JobUnknown)?;
    Ok((format!("{owner}/{name}"), id))
}

/// The state of a job, if it is one of the app.
pub(super) async fn known(reader: &Reader, app: &str, id: JobId) -> Result<JobState, ApiError> {
    let state = reader.status(id).await?;
    state.filter(|state| state.app.as_str() == app).ok_or(ApiError::JobUnknown)
}

/// The body of the call to a request's webhook: its result in fal's envelope. `None` if the request is gone.
pub(in crate::routes) async fn webhook_body(reader: &Reader, id: JobId) -> Result<Option<Vec<u8>>, ApiError> {
    let Some((state, end)) = reader.state_with(id, Shown::End).await? else { return Ok(None) };
    let result = async {
        let json = ended(&end.ok_or_else(ApiError::unreadable)?)?;
        answer(reader.api(), &FAL, json, state.prompt.unwrap_or_default()).await
    };
    let response = result.await.unwrap_or_else(|error| (FAL.wire.reports)(&error));
    let (code, payload) = (response.status(), collected(response).await?);
    let status = match code {
        StatusCode::OK => r#""OK""#.to_owned(),
        code => format!(r#""ERROR","error":"Invalid status code: {}""#, code.as_u16()),
    };
    let head = format!(r#"{{"request_id":"{id}","gateway_request_id":"{id}","status":{status},"payload":"#);
    Ok(Some([head.as_bytes(), &payload[..], &b"}"[..]].concat()))
}

/// `GET /queue/{owner}/{app}/requests/{id}`: what `POST /{owner}/{app}` would have answered.
pub(super) async fn result(
    State(api): State<Api>,
    reader: Reader,
    path: RequestPath,
) -> Result<Response, ApiError> {
    let (app, id) = request(path)?;
    let result = async {
        let (state, end) = reader.state_with(id, Shown::End).await?.ok_or(ApiError::JobUnknown)?;
        if state.app.as_str() != app {
            return Err(ApiError::JobUnknown);
        }
        if !state.status.is_terminal() {
            return Err(ApiError::StillRunning);
        }
        let json = ended(&end.ok_or_else(ApiError::unreadable)?)?;
        answer(&api, &FAL, json, state.prompt.unwrap_or_default()).await
    };
    Ok(with_id(result.await.into_response(), id))
}

/// `PUT /queue/{owner}/{app}/requests/{id}/cancel`. A repeated cancel gets the answer of a cancel that is under way.
pub(super) async fn cancel(reader: Reader, path: RequestPath) -> Result<Response, ApiError> {
    let (app, id) = match request(path) {
        Ok(request) => request,
        Err(_) => return Ok(cancelled(StatusCode::NOT_FOUND, CancelStatus::NotFound)),
    };
    let result = async {
        let before = match known(&reader, &app, id).await {
            Err(ApiError::JobUnknown) => return Ok(cancelled(StatusCode::NOT_FOUND, CancelStatus::NotFound)),
            before => before?,
        };
        Ok::<_, ApiError>(match reader.cancel(id).await? {
            Cancel::Cancelled if before.status == Status::Queued => {
                cancelled(StatusCode::OK, CancelStatus::Ok)
            }
            Cancel::Cancelled | Cancel::AlreadyDone(Status::Cancelled) => {
                cancelled(StatusCode::ACCEPTED, CancelStatus::CancellationRequested)
            }
            Cancel::AlreadyDone(_) => cancelled(StatusCode::BAD_REQUEST, CancelStatus::AlreadyCompleted),
            Cancel::Unknown => cancelled(StatusCode::NOT_FOUND, CancelStatus::NotFound),
        })
    };
    Ok(with_id(result.await.into_response(), id))
}

fn cancelled(code: StatusCode, status: CancelStatus) -> Response {
    json_response(code, &Cancelled { status })
}
