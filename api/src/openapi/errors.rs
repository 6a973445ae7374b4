//! The errors of the routes. Each has the status and the form that the wire of its route gives it.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use glimpse_shared::event::FailureCode;
use utoipa::openapi::{RefOr, Schema};

use super::{
    answer::{RETRY_AFTER, WWW_AUTHENTICATE, json},
    draft::Draft,
    route::Route,
};
use crate::{
    error::ApiError,
    keys::{Rate, Scope},
    policy::{is_violation, refused_picture},
    wire::{FAL, FieldErrors, OPENAI, OWN, OpenAiError, OtherError, Wire},
};

/// How a wire reports errors.
pub(super) struct ErrorForm {
    wire: &'static Wire,
    /// The schema of the response to an error.
    schema: fn(&mut Draft, &ApiError) -> RefOr<Schema>,
}

/// On our own routes.
pub(super) const ON_OUR_OWN: ErrorForm = ErrorForm { wire: &OWN, schema: detail };

/// On fal's routes.
pub(super) const ON_FALS: ErrorForm = ErrorForm { wire: &FAL.wire, schema: detail };

/// On OpenAI's routes.
pub(super) const ON_OPENAIS: ErrorForm =
    ErrorForm { wire: &OPENAI, schema: |draft, _| draft.schema::<OpenAiError>() };

fn detail(draft: &mut Draft, error: &ApiError) -> RefOr<Schema> {
    match error {
        ApiError::Fields(_) | ApiError::SourceUnknown(_) | ApiError::SourceChanged(_) => {
            draft.schema::<FieldErrors<'_>>()
        }
        _ => draft.schema::<OtherError<'_>>(),
    }
}

impl Route {
    /// Adds these errors, in a form.
    pub(super) fn errors(self, draft: &mut Draft, form: &ErrorForm, errors: &[ApiError]) -> Self {
        errors.iter().fold(self, |route, error| {
            let status = (form.wire.reports)(error).status().as_u16();
            let mut answer = json(reason(error), (form.schema)(draft, error));
            if error.retry_after().is_some() {
                answer = answer.header(RETRY_AFTER);
            }
            if matches!(error, ApiError::KeyUnknown) {
                answer = answer.header(WWW_AUTHENTICATE);
            }
            route.answer(status, answer)
        })
    }
}

impl Route {
    /// Where the API has keys, the route needs one with this scope.
    pub(super) fn keyed(self, draft: &mut Draft, form: &ErrorForm, scope: Scope) -> Self {
        let rate = Rate { limit: NonZeroU32::MIN, left: 0, more_in: Duration::ZERO };
        let errors =
            [ApiError::KeyUnknown, ApiError::ScopeMissing { scope }, ApiError::RateExceeded { rate }];
        self.secured().errors(draft, form, &errors)
    }
}

/// Errors of every route that reads a body.
pub(super) fn of_bodies() -> Vec<ApiError> {
    vec![
        ApiError::BodyCut,
        ApiError::BodyNotGzip,
        ApiError::EncodingUnknown,
        ApiError::BodyTooSlow,
        ApiError::BodyTooLarge { limit: 0 },
        ApiError::BodiesFull,
    ]
}

/// Errors of every route that uses the store.
pub(super) fn of_the_store() -> Vec<ApiError> {
    vec![ApiError::StoreAway, ApiError::Defect]
}

/// Errors of a route that reads a kept picture.
pub(super) fn of_results() -> Vec<ApiError> {
    vec![ApiError::FileUnknown, ApiError::ResultsElsewhere, ApiError::ResultsAway]
}

/// Errors of a route that submits a job.
pub(super) fn of_submits() -> Vec<ApiError> {
    let app_unknown = ApiError::AppUnknown { app: String::new(), served: Vec::new() };
    let own = [
        ApiError::Fields(Vec::new()),
        app_unknown,
        ApiError::QueueFull { waiting: 0, retry_after: Duration::ZERO },
        ApiError::JobsFull { limit: 0, retry_after: Duration::ZERO },
        ApiError::FetchesFull { limit: 0 },
        ApiError::ModerationAway,
    ];
    own.into_iter().chain(unconfirmed()).chain(of_bodies()).chain(of_the_store()).collect()
}

/// Errors of a route whose client waits for a job's end on its connection.
pub(super) fn of_waiting() -> Vec<ApiError> {
    let own = [ApiError::StreamsFull { limit: 0 }, ApiError::Ending];
    own.into_iter().chain(of_ends()).collect()
}

/// Why a job has no pictures.
pub(super) fn of_ends() -> Vec<ApiError> {
    let failed = |code| ApiError::Failed { code, message: String::new() };
    let codes = [FailureCode::BadRequest, FailureCode::StartTimeout, FailureCode::Internal];
    codes.map(failed).into_iter().chain([refused_picture(String::new()), ApiError::Cancelled]).collect()
}

/// Errors of a route that is only for the machine of the API.
pub(super) fn of_operators() -> Vec<ApiError> {
    let listens_on = SocketAddr::from(([0; 4], 0));
    vec![ApiError::ForThisMachine { listens_on }, ApiError::ForeignHost { listens_on }]
}

/// A job that too few replicas of the store have.
pub(super) fn unconfirmed() -> Option<ApiError> {
    // Any id: only the kind of the error counts here.
    let id = "00000000-0000-0000-0000-000000000000".parse().ok()?;
    Some(ApiError::Unconfirmed { id, replicas: 0, wanted: 0 })
}

/// When an error occurs, for readers of the document.
fn reason(error: &ApiError) -> &'static str {
    match error {
        refused if is_violation(refused) => "The operator does not allow the prompt or one of the pictures.",
        ApiError::Fields(_) => "Fields are invalid.",
        ApiError::SourceUnknown(_) => "There is no job `from.job`, or it has expired.",
        ApiError::SourceChanged(_) => {
            "The job of `from` has not made the step, or its request, its model or a LoRA of it is no longer here."
        }
        ApiError::AppUnknown { .. } => "No worker serves the app.",
        ApiError::JobUnknown => "There is no such job, or it has expired.",
        ApiError::FileUnknown => "The file never existed, or has expired.",
        ApiError::RangeUnknown => "The file does not have the range.",
        ApiError::ResultsElsewhere => {
            "The workers keep pictures where this process does not look (`--results`)."
        }
        ApiError::ResultsAway => "The place where pictures are kept is unavailable.",
        ApiError::NoStep => "The job has made no step yet.",
        ApiError::NoImage => "The job has no picture yet.",
        ApiError::KeyUnknown => "The API has keys, and the request has none of them.",
        ApiError::ScopeMissing { .. } => "The key does not have the scope of the route.",
        ApiError::RateExceeded { .. } => "The key's tenant has sent all its requests of this minute.",
        ApiError::PathUnknown(_) => "There is no such path.",
        ApiError::TargetUnknown => "`X-Fal-Target-Url` is not an address of fal's.",
        ApiError::MethodUnknown => "The path does not support the method.",
        ApiError::ForThisMachine { .. } => "The API has no keys and does not listen on a loopback address.",
        ApiError::ForeignHost { .. } => "The API has no keys, and the `Host` header names another machine.",
        ApiError::HostUnclear => "The request of HTTP/1.1 has no `Host` header, or several.",
        ApiError::NoWebSocket => "The request is not the handshake of a WebSocket.",
        ApiError::BodyTooLarge { .. } => "The body is larger than `--body-limit`.",
        ApiError::BodyTooSlow => "The body did not arrive in time.",
        ApiError::BodyCut => "The body ended early.",
        ApiError::EncodingUnknown => "The `Content-Encoding` is not gzip.",
        ApiError::BodyNotGzip => "The body is not in the gzip format, or is cut.",
        ApiError::NoneServed => "No worker is registered.",
        ApiError::BodiesFull => "This process has no memory left for bodies.",
        ApiError::QueueFull { .. } => "The queue of the app is full.",
        ApiError::JobsFull { .. } => "The key's tenant has as many unfinished jobs as it may.",
        ApiError::StreamsFull { .. } => "This process has reached its limit of clients that wait.",
        ApiError::FetchesFull { .. } => "This process already fetches its maximum of pictures.",
        ApiError::Unconfirmed { .. } => "The job exists, but too few replicas of the store confirmed it.",
        ApiError::NoneCapable => "No worker of the app can do the job now.",
        ApiError::StoreAway => "The store is unavailable.",
        ApiError::ModerationAway => "The prompt cannot be checked now (`--moderation-url`).",
        ApiError::Ending => "This process shuts down.",
        ApiError::StillRunning => "The request has not ended yet.",
        ApiError::Failed { code: FailureCode::BadRequest, .. } => "The model cannot do it.",
        ApiError::Failed { code: FailureCode::StartTimeout, .. } => "No worker took it in time.",
        ApiError::Failed { .. } => "It failed.",
        ApiError::Cancelled => "It was cancelled.",
        ApiError::InputEnded => "The client closed its sending half, which counts as a disconnect.",
        ApiError::Defect => "A bug, or unreadable data in the store.",
    }
}
