//! OpenAI's wire.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use glimpse_shared::{
    event::{FailureCode, ascii_json},
    request::{Defaults, Dialect, Endpoint, FieldError, Names, PreviewSource, Unknown},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{definition::Wire, detail};
use crate::{error::ApiError, json::json_response, policy::VIOLATION};

/// OpenAI's routes.
pub(crate) static OPENAI: Wire = Wire {
    reads: Dialect {
        defaults: Defaults { unknown: Unknown::Ignored, preview_source: PreviewSource::Denoised },
        names: Names::OpenAi(Endpoint::Generation),
    },
    reports: report,
};

/// Whether OpenAI's clients repeat the request by themselves. Without it they repeat every 5xx.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error as OpenAI's clients read it.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiErrorDetail)]
struct Reported {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Reported {
    fn of(error: &ApiError) -> Self {
        let first = match error {
            ApiError::Fields(fields) => fields.first(),
            _ => None,
        };
        let param = match error {
            ApiError::AppUnknown { .. } => Some("model".to_owned()),
            _ => first.and_then(FieldError::path),
        };
        let code = match error {
            ApiError::AppUnknown { .. } => Some("model_not_found"),
            ApiError::Failed { code, .. } => Some(code.as_str()),
            ApiError::Cancelled => Some("cancelled"),
            ApiError::KeyUnknown => Some("invalid_api_key"),
            _ if status(error) == StatusCode::TOO_MANY_REQUESTS => Some("rate_limit_exceeded"),
            _ => first.map(|field| match field.kind {
                "missing" => "missing_required_parameter",
                VIOLATION => VIOLATION,
                kind if kind.ends_with("_type") => "invalid_type",
                _ => "invalid_value",
            }),
        };
        Self { message: error.message(), kind: kind(status(error)), param, code }
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

fn status(error: &ApiError) -> StatusCode {
    match error {
        ApiError::Fields(_) => StatusCode::BAD_REQUEST,
        other => detail::status(other),
    }
}

/// The form of an error.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiError {
    error: Reported,
}

fn report(error: &ApiError) -> Response {
    let mut response = json_response(status(error), &OpenAiError { error: Reported::of(error) });
    if matches!(error, ApiError::KeyUnknown) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, detail::SCHEMES);
    }
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    // The job was tried as often as it may be. After a start timeout there may be a worker.
    if matches!(error, ApiError::Failed { code, .. } if *code != FailureCode::StartTimeout) {
        response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

/// The `data` of the last event of a stream that is cut by an error.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiErrorEvent {
    r#type: &'static str,
    error: Reported,
}

/// The last event of a stream that is cut by an error: OpenAI's clients raise it as an exception.
pub(crate) fn error_event(error: &ApiError) -> String {
    let event = OpenAiErrorEvent { r#type: "error", error: Reported::of(error) };
    format!("event: error\ndata: {}\n\n", ascii_json(&event))
}
