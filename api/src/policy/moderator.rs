//! The operator's endpoint that decides about prompts.

use std::time::Duration;

use glimpse_shared::{
    id::App,
    request::ImageSpec,
    telemetry,
    verdict::{Endpoint, EndpointUrl, OnFailure, Verdict},
};
use serde::Serialize;
use tracing::Instrument;

use crate::error::ApiError;

/// What the endpoint gets.
#[derive(Serialize)]
struct Question<'a> {
    app: &'a str,
    tenant: &'a str,
    prompt: &'a str,
    negative_prompt: &'a str,
}

/// Asks the endpoint.
pub(super) struct Moderator {
    endpoint: Endpoint,
    timeout: Duration,
    on_failure: OnFailure,
}

impl Moderator {
    pub(super) fn new(url: EndpointUrl, timeout: Duration, on_failure: OnFailure) -> Self {
        Self { endpoint: Endpoint::new(url), timeout, on_failure }
    }

    /// Asks whether a request may be served.
    ///
    /// # Errors
    /// [`ApiError::ModerationAway`] if there is no answer and the operator wants nothing unchecked.
    pub(super) async fn ask(&self, app: &App, tenant: &str, spec: &ImageSpec) -> Result<Verdict, ApiError> {
        let (prompt, negative_prompt) = (spec.prompt(), spec.negative_prompt());
        let question = Question { app: app.as_str(), tenant, prompt, negative_prompt };
        let asking = self.endpoint.ask(&question, self.timeout);
        let asking = asking.instrument(telemetry::call("moderation", self.endpoint.host()));
        match (asking.await, self.on_failure) {
            (Ok(verdict), _) => Ok(verdict),
            (Err(error), OnFailure::Allow) => {
                tracing::warn!(%error, "a prompt was not checked (--moderation-failure allow)");
                Ok(Verdict::ALLOWED)
            }
            (Err(error), OnFailure::Refuse) => {
                tracing::warn!(%error, "answered 503: a prompt could not be checked");
                Err(ApiError::ModerationAway)
            }
        }
    }
}
