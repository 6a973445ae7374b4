//! Checks the address of a webhook when its job is submitted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use glimpse_shared::{
    outbound::{AddressPolicy, Forbidden},
    webhook::LONGEST_WEBHOOK_URL,
};
use reqwest::Url;
use tokio::sync::Semaphore;

/// The timeout for the lookup of a name. After it the address is accepted, because every call looks the name up again.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Lookups at once: each needs a thread.
const LOOKUPS_AT_ONCE: usize = 16;

/// Why an address is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// For programs.
    pub(crate) kind: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// Checks addresses.
pub(super) struct Targets {
    policy: Arc<AddressPolicy>,
    /// Whether private addresses are allowed, so that a name need not be looked up.
    private: bool,
    lookups: Semaphore,
}

impl Targets {
    pub(super) fn new(policy: Arc<AddressPolicy>, private: bool) -> Self {
        Self { policy, private, lookups: Semaphore::new(LOOKUPS_AT_ONCE) }
    }

    pub(super) async fn checked(&self, url: &str) -> Result<(), Refused> {
        let refused = |kind, message: &str| Err(Refused { kind, message: message.to_owned() });
        if url.len() > LONGEST_WEBHOOK_URL {
            let message = format!("URL should have at most {LONGEST_WEBHOOK_URL} bytes");
            return refused("url_too_long", &message);
        }
        let Ok(url) = Url::parse(url) else { return refused("url_parsing", "Input should be a valid URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return refused("url_scheme", "URL scheme should be http or https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("url_credentials", "URL should have no user and no password");
        }
        let forbidden = self.policy.check(&url).is_err() || self.is_private(url.host_str()).await;
        match forbidden {
            false => Ok(()),
            true => refused(
                "forbidden_address",
                "URL should have a public address. The operator of this server can allow private addresses with \
                 --allow-private-webhooks",
            ),
        }
    }

    /// Whether a name has an address now that may not be called.
    async fn is_private(&self, host: Option<&str>) -> bool {
        let Some(name) = host.filter(|host| !self.private && !is_address(host)) else { return false };
        let lookup = async {
            // The semaphore is never closed.
            let _place = self.lookups.acquire().await;
            self.policy.resolved(name).await
        };
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Err(error)) => error.is::<Forbidden>(),
            // An unknown name may be known later.
            Ok(Ok(_)) | Err(_) => false,
        }
    }
}

fn is_address(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}
