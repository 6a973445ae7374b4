//! An endpoint of the operator's that decides what may be drawn and what may be shown.
//!
//! The operator names its address, so it may be anywhere: [`outbound`](crate::outbound) has the rules for addresses that
//! clients name.

use std::{str::FromStr, time::Duration};

use reqwest::{Client, Url, redirect};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// How much of a reason the client sees, in characters.
const LONGEST_REASON: usize = 300;

/// The address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl FromStr for EndpointUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| "should be an address as https://example.com/check".to_owned())
    }
}

/// What happens when the endpoint gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFailure {
    /// Nothing passes unchecked.
    Refuse,
    /// It passes unchecked, and a warning is logged.
    Allow,
}

/// What the endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// Whether it may be drawn, or shown.
    pub allowed: bool,
    /// Why not, for the client.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Verdict {
    /// The verdict where nothing was asked.
    pub const ALLOWED: Self = Self { allowed: true, reason: None };
}

/// Why there is no verdict. The text has neither the address, which may be a secret, nor the question.
#[derive(Debug, thiserror::Error)]
pub enum NoVerdict {
    /// No answer came in time, or it had another status than 2xx.
    #[error("there was no answer: {0}")]
    NoAnswer(reqwest::Error),
    /// The answer is too long.
    #[error("the answer has more than {LONGEST_ANSWER} bytes")]
    TooLong,
    /// The answer is not one.
    #[error("the answer is not JSON with a member allowed: {0}")]
    Unreadable(serde_json::Error),
}

impl From<reqwest::Error> for NoVerdict {
    fn from(error: reqwest::Error) -> Self {
        Self::NoAnswer(error.without_url())
    }
}

/// An endpoint that can be asked.
pub struct Endpoint {
    url: Url,
    /// Made at the first question: it needs the system's certificates.
    client: OnceCell<Client>,
}

impl Endpoint {
    /// The endpoint at an address. Nothing is sent before the first question.
    pub fn new(EndpointUrl(url): EndpointUrl) -> Self {
        Self { url, client: OnceCell::new() }
    }

    /// The host's name, for traces.
    pub fn host(&self) -> Option<&str> {
        self.url.host_str()
    }

    /// Asks once, with a POST of JSON.
    ///
    /// # Errors
    /// If there is no verdict within `timeout`.
    pub async fn ask(&self, question: &impl Serialize, timeout: Duration) -> Result<Verdict, NoVerdict> {
        let client = self.client.get_or_try_init(|| async { client() }).await?;
        let request = client.post(self.url.clone()).timeout(timeout).json(question);
        let mut response = request.send().await?.error_for_status()?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST_ANSWER {
                return Err(NoVerdict::TooLong);
            }
        }
        let mut verdict: Verdict = serde_json::from_slice(&answer).map_err(NoVerdict::Unreadable)?;
        verdict.reason = verdict.reason.map(|reason| reason.chars().take(LONGEST_REASON).collect());
        Ok(verdict)
    }
}

fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
        .build()
}
