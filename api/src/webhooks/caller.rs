//! One call of a webhook.

use std::{error::Error, sync::Arc, time::Duration};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use glimpse_shared::outbound::{AddressPolicy, Forbidden};
use reqwest::{Client, Response, Url, redirect};
use tokio::sync::OnceCell;

use super::limits::WebhookLimits;

/// How much of an answer's body is read, so that the receiver can write it; it is ignored.
const READ_BYTES: usize = 64 << 10;
/// How long it is read.
const READ_TIME: Duration = Duration::from_secs(1);

/// Why a call failed. The text does not contain the address, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the address is not a URL that may be called")]
    Forbidden,
    #[error("the receiver answered {0}")]
    Answered(StatusCode),
    #[error("there was no answer: {0}")]
    NoAnswer(String),
    #[error("this machine has no certificates to trust: {0}")]
    NoCertificates(String),
}

/// Calls webhooks.
pub(super) struct Caller {
    /// Made at the first call: it needs the system's certificates, which a process without webhooks does not.
    client: OnceCell<Client>,
    policy: Arc<AddressPolicy>,
    limits: WebhookLimits,
}

impl Caller {
    pub(super) fn new(policy: Arc<AddressPolicy>, limits: WebhookLimits) -> Self {
        Self { client: OnceCell::new(), policy, limits }
    }

    /// Calls an address once. Only 2xx is a success; a redirect is not followed.
    pub(super) async fn call(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<(), CallError> {
        let url = Url::parse(url).map_err(|_| CallError::Forbidden)?;
        // The operator may have changed the policy since the submit.
        self.policy.check(&url).map_err(|Forbidden| CallError::Forbidden)?;
        let client = self.client.get_or_try_init(|| async { self.client() }).await?;
        let response = client.post(url).headers(headers).body(body).send().await.map_err(no_answer)?;
        let status = response.status();
        ignore_body(response).await;
        if status.is_success() { Ok(()) } else { Err(CallError::Answered(status)) }
    }

    fn client(&self) -> Result<Client, CallError> {
        let client = Client::builder()
            .dns_resolver(self.policy.clone())
            // A proxy from the environment would resolve names again, without the policy.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // Keep no idle connections to unknown hosts.
            .pool_max_idle_per_host(0)
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.timeout)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")));
        client.build().map_err(|error| CallError::NoCertificates(error.to_string()))
    }
}

/// Reads the beginning of an answer, whatever it is.
async fn ignore_body(mut response: Response) {
    let read = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > READ_BYTES {
                break;
            }
        }
    };
    // The status has arrived, so nothing depends on the rest.
    let _ = tokio::time::timeout(READ_TIME, read).await;
}

fn no_answer(error: reqwest::Error) -> CallError {
    let mut causes = Vec::new();
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return CallError::Forbidden;
        }
        causes.push(error.to_string());
        cause = error.source();
    }
    CallError::NoAnswer(causes.join(": "))
}
