//! Errors as `{"detail": …}`, the form of FastAPI and of fal.

use axum::{
    http::{StatusCode, header},
    response::Response,
};
use glimpse_shared::{
    event::FailureCode,
    id::{App, JobId},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{error::ApiError, json::json_response};

/// The response to an error.
pub(crate) fn report(error: &ApiError) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        detail: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        apps: Option<&'a [App]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<JobId>,
    }
    let detail = match error {
        ApiError::Fields(fields) => json!(fields),
        other => other.message().into(),
    };
    let apps = match error {
        ApiError::AppUnknown { served, .. } => Some(&served[..]),
        _ => None,
    };
    let id = match error {
        ApiError::Unconfirmed { id, .. } => Some(*id),
        _ => None,
    };
    let mut response = json_response(status(error), &Body { detail, apps, id });
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    response
}

/// The status of the response to an error.
pub(crate) fn status(error: &ApiError) -> StatusCode {
    match error {
        ApiError::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ApiError::AppUnknown { .. }
        | ApiError::JobUnknown
        | ApiError::NoImage
        | ApiError::FileUnknown
        | ApiError::PathUnknown(_) => StatusCode::NOT_FOUND,
        ApiError::RangeUnknown => StatusCode::RANGE_NOT_SATISFIABLE,
        ApiError::MethodUnknown => StatusCode::METHOD_NOT_ALLOWED,
        ApiError::ForThisMachine { .. } | ApiError::ForeignHost { .. } => StatusCode::FORBIDDEN,
        ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ApiError::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        ApiError::EncodingUnknown => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ApiError::BodyNotGzip | ApiError::BodyCut | ApiError::StillRunning | ApiError::TargetUnknown => {
            StatusCode::BAD_REQUEST
        }
        ApiError::QueueFull { .. }
        | ApiError::StreamsFull { .. }
        | ApiError::FetchesFull { .. }
        | ApiError::BodiesFull => StatusCode::TOO_MANY_REQUESTS,
        ApiError::Unconfirmed { .. }
        | ApiError::NoneServed
        | ApiError::NoneCapable
        | ApiError::StoreAway
        | ApiError::ResultsAway
        | ApiError::Ending => StatusCode::SERVICE_UNAVAILABLE,
        ApiError::Failed { code, .. } => match code {
            FailureCode::StartTimeout => StatusCode::GATEWAY_TIMEOUT,
            FailureCode::BadRequest => StatusCode::BAD_REQUEST,
            FailureCode::AttemptsExhausted
            | FailureCode::RunTimeout
            | FailureCode::JobLost
            | FailureCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
        // 499 is not in the standard, but nginx and fal use it for a closed request.
        ApiError::Cancelled | ApiError::InputEnded => {
            StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
        }
        ApiError::ResultsElsewhere | ApiError::Defect => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
