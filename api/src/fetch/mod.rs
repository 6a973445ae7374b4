//! Fetches pictures that a request gives as URLs, if the operator allows it.
//!
//! The client chooses the URL, and this machine may reach networks that the client cannot. So the policy of
//! `shared/src/outbound` checks the address of every hop; time, bytes and the number of parallel fetches are limited; and an error does not tell the
//! client what is at the URL.

use std::{collections::BTreeSet, error::Error, io, sync::Arc, time::Duration};

use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use glimpse_shared::{
    outbound::{AddressPolicy, Forbidden, TrustedHost},
    request::{Fetched, MAX_INPUT_IMAGE_BYTES, NotFetched},
    telemetry,
};
use reqwest::{Client, Response, Url, redirect};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::error::ApiError;

/// The longest URL of a picture, in characters.
const LONGEST_URL: usize = 8192;

/// Limits of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Timeout for one connection.
    pub connect: Duration,
    /// Timeout for everything, from the first lookup to the last byte.
    pub timeout: Duration,
    /// Bytes of the body, whatever its length header says.
    pub bytes: usize,
    /// Redirects to follow.
    pub redirects: usize,
    /// Fetches at once.
    pub at_once: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            bytes: MAX_INPUT_IMAGE_BYTES,
            redirects: 3,
            at_once: 16,
        }
    }
}

/// Fetches pictures.
pub(crate) struct Fetcher {
    client: Client,
    policy: Arc<AddressPolicy>,
    limits: FetchLimits,
    /// One permit for each fetch.
    places: Semaphore,
}

impl Fetcher {
    /// Fetches only from `hosts`, or from all public hosts if the list is empty.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub(crate) fn new(limits: FetchLimits, hosts: &[TrustedHost]) -> io::Result<Self> {
        let policy = Arc::new(AddressPolicy::of_hosts(hosts));
        let client = Client::builder()
            .dns_resolver(policy.clone())
            // A proxy from the environment would resolve names again, without the policy.
            .no_proxy()
            // The policy checks each hop.
            .redirect(redirect::Policy::none())
            .referer(false)
            // Keep no idle connections to unknown hosts.
            .pool_max_idle_per_host(0)
            .connect_timeout(limits.connect)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(io::Error::other)?;
        let places = Semaphore::new(limits.at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { client, policy, limits, places })
    }

    /// Fetches each of the URLs.
    ///
    /// # Errors
    /// When too many are being fetched.
    pub(crate) async fn fetch(&self, urls: BTreeSet<String>) -> Result<Fetched, ApiError> {
        let fetches = urls.into_iter().map(|url| async {
            let full = |_| ApiError::FetchesFull { limit: self.limits.at_once };
            let _place = self.places.try_acquire().map_err(full)?;
            let parsed = Url::parse(&url).ok();
            let span = telemetry::call("fetch", parsed.as_ref().and_then(Url::host_str));
            let follow = self.follow(&url).instrument(span);
            let found = tokio::time::timeout(self.limits.timeout, follow).await;
            let found = found.unwrap_or(Err(NotFetched::Failed));
            if let Err(error) = found {
                tracing::debug!(%url, %error, "a picture was not fetched");
            }
            Ok::<_, ApiError>((url, found))
        });
        Ok(try_join_all(fetches).await?.into_iter().collect())
    }

    async fn follow(&self, url: &str) -> Result<Bytes, NotFetched> {
        if url.len() > LONGEST_URL {
            return Err(NotFetched::Failed);
        }
        let mut url = Url::parse(url).map_err(|_| NotFetched::Failed)?;
        for _ in 0..=self.limits.redirects {
            self.policy.check(&url).map_err(|Forbidden| NotFetched::Forbidden)?;
            let response = self.client.get(url.clone()).send().await.map_err(|error| reason(&error))?;
            match response.status() {
                StatusCode::OK => return self.body(response).await,
                status if status.is_redirection() => url = target(&url, &response)?,
                _ => return Err(NotFetched::Failed),
            }
        }
        Err(NotFetched::Failed)
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, NotFetched> {
        if response.content_length().is_some_and(|length| length > self.limits.bytes as u64) {
            return Err(NotFetched::TooManyBytes);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            if body.len() + chunk.len() > self.limits.bytes {
                return Err(NotFetched::TooManyBytes);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// The target of a redirect.
fn target(from: &Url, response: &Response) -> Result<Url, NotFetched> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    location
        .filter(|location| location.len() <= LONGEST_URL)
        .and_then(|location| from.join(location).ok())
        .ok_or(NotFetched::Failed)
}

/// Whether the policy's resolver refused the name, or anything else failed.
fn reason(error: &reqwest::Error) -> NotFetched {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return NotFetched::Forbidden;
        }
        cause = error.source();
    }
    NotFetched::Failed
}
