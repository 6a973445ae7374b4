//! Pictures that a request names by address: fetched here, once, where the operator allows it.
//!
//! The address is a stranger's, and this machine stands where the stranger does not. So: whom to ask is decided by
//! `door.rs` at every hop, by the very address that the connection then goes to; time, bytes and the number of
//! fetches are bounded; and the client learns only that there is no picture, never what was there instead.

mod address;
mod door;

use std::{collections::BTreeSet, error::Error, io, sync::Arc, time::Duration};

use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use glimpse_shared::request::{Fetched, MAX_INPUT_IMAGE_BYTES, NotFetched};
use reqwest::{Client, Response, Url, redirect};
use tokio::sync::Semaphore;

pub use door::ImageHost;
use door::{Door, Forbidden};

use crate::error::ApiError;

/// An address of more characters is no picture's.
const LONGEST_URL: usize = 8192;

/// How far a fetch may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// For one connection to stand.
    pub connect: Duration,
    /// For everything, from the first look-up to the last byte.
    pub total: Duration,
    /// Of the body, whatever its head says.
    pub bytes: usize,
    /// To follow.
    pub redirects: usize,
    /// Fetches at once.
    pub at_once: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
            bytes: MAX_INPUT_IMAGE_BYTES,
            redirects: 3,
            at_once: 16,
        }
    }
}

/// Fetches pictures.
pub(crate) struct Fetcher {
    client: Client,
    door: Arc<Door>,
    limits: FetchLimits,
    /// One permit for each fetch.
    places: Semaphore,
}

impl Fetcher {
    /// From `hosts` alone, or from all public ones if there are none.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub(crate) fn new(limits: FetchLimits, hosts: &[ImageHost]) -> io::Result<Self> {
        let door = Arc::new(Door::new(hosts));
        let client = Client::builder()
            .dns_resolver(door.clone())
            // The proxy of the environment would resolve names anew, and by its own rules.
            .no_proxy()
            // Each hop goes through the door.
            .redirect(redirect::Policy::none())
            .referer(false)
            // Strangers' connections are not kept.
            .pool_max_idle_per_host(0)
            .connect_timeout(limits.connect)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(io::Error::other)?;
        let places = Semaphore::new(limits.at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { client, door, limits, places })
    }

    /// What there is at each of the addresses.
    ///
    /// # Errors
    /// When too many are being fetched.
    pub(crate) async fn fetch(&self, urls: BTreeSet<String>) -> Result<Fetched, ApiError> {
        let fetches = urls.into_iter().map(|url| async {
            let full = |_| ApiError::FetchesFull { limit: self.limits.at_once };
            let _place = self.places.try_acquire().map_err(full)?;
            let found = tokio::time::timeout(self.limits.total, self.follow(&url)).await;
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
            self.door.admit(&url).map_err(|Forbidden| NotFetched::Forbidden)?;
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

/// Where a redirection leads.
fn target(from: &Url, response: &Response) -> Result<Url, NotFetched> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    location
        .filter(|location| location.len() <= LONGEST_URL)
        .and_then(|location| from.join(location).ok())
        .ok_or(NotFetched::Failed)
}

/// Whether the door's resolver said no, somewhere below, or anything else went wrong.
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
