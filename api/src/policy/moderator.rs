//! The operator's endpoint that decides about prompts.

use std::{str::FromStr, time::Duration};

use glimpse_shared::{id::App, request::ImageSpec, telemetry};
use reqwest::{Client, Url, redirect};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tracing::Instrument;

use crate::error::ApiError;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// How much of a reason the client sees, in characters.
const LONGEST_REASON: usize = 300;

/// The endpoint's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModerationUrl(Url);

impl FromStr for ModerationUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| "should be an address as https://example.com/check".to_owned())
    }
}

/// What happens to a request that could not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFailure {
    /// It gets 503.
    Refuse,
    /// It is served, and a warning is logged.
    Allow,
}

/// What the endpoint gets.
#[derive(Serialize)]
struct Question<'a> {
    app: &'a str,
    tenant: &'a str,
    prompt: &'a str,
    negative_prompt: &'a str,
}

/// What the endpoint answers.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Why not, for the client.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// Why there is no verdict. The text has neither the address, which may be a secret, nor the prompt.
#[derive(Debug, thiserror::Error)]
enum NoVerdict {
    #[error("there was no answer: {0}")]
    NoAnswer(reqwest::Error),
    #[error("the answer has more than {LONGEST_ANSWER} bytes")]
    TooLong,
    #[error("the answer is not JSON with a member allowed: {0}")]
    Unreadable(serde_json::Error),
}

impl From<reqwest::Error> for NoVerdict {
    fn from(error: reqwest::Error) -> Self {
        Self::NoAnswer(error.without_url())
    }
}

/// Asks the endpoint.
pub(super) struct Moderator {
    url: Url,
    timeout: Duration,
    on_failure: OnFailure,
    /// Made at the first question: it needs the system's certificates.
    client: OnceCell<Client>,
}

impl Moderator {
    pub(super) fn new(ModerationUrl(url): ModerationUrl, timeout: Duration, on_failure: OnFailure) -> Self {
        Self { url, timeout, on_failure, client: OnceCell::new() }
    }

    /// Asks whether a request may be served.
    ///
    /// # Errors
    /// [`ApiError::ModerationAway`] if there is no answer and the operator wants nothing unchecked.
    pub(super) async fn ask(&self, app: &App, tenant: &str, spec: &ImageSpec) -> Result<Verdict, ApiError> {
        let (prompt, negative_prompt) = (spec.prompt(), spec.negative_prompt());
        let question = Question { app: app.as_str(), tenant, prompt, negative_prompt };
        let answer = self.answer(&question).instrument(telemetry::call("moderation", self.url.host_str()));
        match (answer.await, self.on_failure) {
            (Ok(mut verdict), _) => {
                verdict.reason = verdict.reason.map(|reason| reason.chars().take(LONGEST_REASON).collect());
                Ok(verdict)
            }
            (Err(error), OnFailure::Allow) => {
                tracing::warn!(%error, "a prompt was not checked (--moderation-failure allow)");
                Ok(Verdict { allowed: true, reason: None })
            }
            (Err(error), OnFailure::Refuse) => {
                tracing::warn!(%error, "answered 503: a prompt could not be checked");
                Err(ApiError::ModerationAway)
            }
        }
    }

    async fn answer(&self, question: &Question<'_>) -> Result<Verdict, NoVerdict> {
        let client = self.client.get_or_try_init(|| async { self.client() }).await?;
        let mut response = client.post(self.url.clone()).json(question).send().await?.error_for_status()?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST_ANSWER {
                return Err(NoVerdict::TooLong);
            }
        }
        serde_json::from_slice(&answer).map_err(NoVerdict::Unreadable)
    }

    fn client(&self) -> Result<Client, reqwest::Error> {
        Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}
