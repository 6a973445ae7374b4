//! Errors as `{"detail": …}`, the form of FastAPI and of fal.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use glimpse_shared::{
    event::FailureCode,
    id::{App, JobId},
    request::FieldError,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::ApiError, json::json_response};

/// The schemes of a key, for a response that needs one.
pub(super) const SCHEMES: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"glimpse\", Key realm=\"glimpse\"");

/// An error about fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldErrors<'a> {
    /// One entry per invalid field.
    #[schema(value_type = Vec<FieldError>, min_items = 1)]
    detail: &'a [FieldError],
}

/// Another error.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct OtherError<'a> {
    /// What happened and what to do, for people.
    pub(super) detail: String,
    /// On fal's routes: why there are no pictures, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) error_type: Option<&'static str>,
    /// If no worker serves the app: the apps that are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) apps: Option<&'a [App]>,
    /// The job that exists although the response is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) id: Option<JobId>,
}

/// The response to an error.
pub(crate) fn report(error: &ApiError) -> Response {
    let apps = match error {
        ApiError::AppUnknown { served, .. } => Some(&served[..]),
        _ => None,
    };
    let id = match error {
        ApiError::Unconfirmed { id, .. } => Some(*id),
        _ => None,
    };
    let mut response = match error {
        ApiError::Fields(fields) | ApiError::SourceChanged(fields) => {
            json_response(status(error), &FieldErrors { detail: fields })
        }
        ApiError::SourceUnknown(field) => {
            json_response(status(error), &FieldErrors { detail: std::slice::from_ref(&**field) })
        }
        _ => {
            let body = OtherError { detail: error.message(), apps, id, ..OtherError::default() };
            json_response(status(error), &body)
        }
    };
    if matches!(error, ApiError::NoWebSocket) {
        // The status requires it.
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if matches!(error, ApiError::KeyUnknown) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, SCHEMES);
    }
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
        | ApiError::SourceUnknown(_)
        | ApiError::JobUnknown
        | ApiError::NoImage
        | ApiError::FileUnknown
        | ApiError::PathUnknown(_) => StatusCode::NOT_FOUND,
        ApiError::NoStep | ApiError::SourceChanged(_) => StatusCode::CONFLICT,
        ApiError::RangeUnknown => StatusCode::RANGE_NOT_SATISFIABLE,
        ApiError::MethodUnknown => StatusCode::METHOD_NOT_ALLOWED,
        ApiError::KeyUnknown => StatusCode::UNAUTHORIZED,
        ApiError::ForThisMachine { .. } | ApiError::ForeignHost { .. } | ApiError::ScopeMissing { .. } => {
            StatusCode::FORBIDDEN
        }
        ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ApiError::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        ApiError::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
        ApiError::EncodingUnknown => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ApiError::BodyNotGzip
        | ApiError::BodyCut
        | ApiError::HostUnclear
        | ApiError::StillRunning
        | ApiError::TargetUnknown => StatusCode::BAD_REQUEST,
        ApiError::QueueFull { .. }
        | ApiError::JobsFull { .. }
        | ApiError::RateExceeded { .. }
        | ApiError::StreamsFull { .. }
        | ApiError::FetchesFull { .. }
        | ApiError::BodiesFull => StatusCode::TOO_MANY_REQUESTS,
        ApiError::Unconfirmed { .. }
        | ApiError::NoneServed
        | ApiError::NoneCapable
        | ApiError::StoreAway
        | ApiError::ModerationAway
        | ApiError::ResultsAway
        | ApiError::Ending => StatusCode::SERVICE_UNAVAILABLE,
        ApiError::Failed { code, .. } => match code {
            FailureCode::StartTimeout => StatusCode::GATEWAY_TIMEOUT,
            FailureCode::BadRequest => StatusCode::BAD_REQUEST,
            FailureCode::ContentPolicyViolation => StatusCode::UNPROCESSABLE_ENTITY,
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
