//! Calls the webhooks of ended jobs.
//!
//! The store keeps which calls are due (`glimpse_shared::webhook`), so any API makes any call, and another one takes over
//! when an API dies. The client chooses the address: the policy of `shared/src/outbound` checks it when the job is submitted, and the
//! resolved addresses again at every call.
//!
//! ```text
//! target.rs   checks an address    key.rs      the signing key      caller.rs   one call
//! signed.rs   headers of a call    calls.rs    all calls of this process
//! limits.rs   its limits
//! ```

pub(crate) mod calls;

mod caller;
mod key;
mod limits;
mod signed;
mod target;

use std::sync::Arc;

use glimpse_shared::{
    error::{StoreError, StoreResult},
    outbound::AddressPolicy,
    store::SharedStore,
};

pub use key::WebhookKey;
pub use limits::WebhookLimits;
pub(crate) use target::Refused;

use self::{caller::Caller, target::Targets};
use crate::config::Config;

/// What this process needs to check, sign and call webhooks.
pub(crate) struct Webhooks {
    targets: Targets,
    caller: Caller,
    limits: WebhookLimits,
    /// The operator's key; `None` for the key in the store.
    key: Option<WebhookKey>,
}

impl Webhooks {
    pub(crate) fn new(config: &Config) -> Self {
        Self::with(config, AddressPolicy::of_webhooks(config.allow_private_webhooks))
    }

    fn with(config: &Config, policy: AddressPolicy) -> Self {
        let (policy, limits) = (Arc::new(policy), config.webhook_limits);
        let targets = Targets::new(policy.clone(), config.allow_private_webhooks);
        Self { targets, caller: Caller::new(policy, limits), limits, key: config.webhook_key.clone() }
    }

    /// Checks the address of a webhook.
    pub(crate) async fn checked(&self, url: &str) -> Result<(), Refused> {
        self.targets.checked(url).await
    }

    /// The key that signs. The store's key is read each time, so that no process signs with one that was deleted.
    pub(crate) async fn key(&self, store: &SharedStore) -> StoreResult<WebhookKey> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let key = WebhookKey::of_seed(&store.webhook_seed().await?);
        key.ok_or_else(|| StoreError::Corrupt("the seed of the webhooks' key is not a seed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Mutex};

    use axum::http::HeaderMap;
    use bytes::Bytes;
    use glimpse_test_support::{WebhookAnswer, WebhookReceiver};

    use super::{caller::CallError, *};

    /// A name whose address changes: each lookup takes the next one, and the last one stays.
    fn moving(addresses: &[&str]) -> AddressPolicy {
        let addresses: Mutex<Vec<SocketAddr>> = Mutex::new(
            addresses.iter().rev().map(|address| format!("{address}:0").parse().unwrap()).collect(),
        );
        AddressPolicy::of_webhooks(false).with_lookup(Arc::new(move |_| {
            let mut addresses = addresses.lock().unwrap();
            let next = if addresses.len() > 1 { addresses.pop() } else { addresses.last().copied() };
            Box::pin(async move { Ok(next.into_iter().collect()) })
        }))
    }

    #[tokio::test]
    async fn a_name_that_moves_to_a_private_address_is_not_called() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::OK);
        let url = format!("http://receiver.example:{}/hook", receiver.address().port());
        for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254"] {
            let webhooks = Webhooks::with(&Config::default(), moving(&["8.8.8.8", private]));
            assert_eq!(webhooks.checked(&url).await, Ok(()), "the submit sees a public address");
            let called = webhooks.caller.call(&url, HeaderMap::new(), Bytes::new()).await;
            assert!(matches!(called, Err(CallError::Forbidden)), "{called:?}");
            // And at the next submit.
            assert_eq!(webhooks.checked(&url).await.unwrap_err().kind, "forbidden_address");
        }
        assert_eq!(receiver.calls(), []);
        // With the flag the same name may be called.
        let config = Config { allow_private_webhooks: true, ..Config::default() };
        let policy = AddressPolicy::of_webhooks(true)
            .with_lookup(Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1:0".parse().unwrap()]) })));
        let webhooks = Webhooks::with(&config, policy);
        assert_eq!(webhooks.checked(&url).await, Ok(()));
        webhooks.caller.call(&url, HeaderMap::new(), Bytes::from("{}")).await.unwrap();
        assert_eq!(receiver.calls().len(), 1);
    }

    #[tokio::test]
    async fn one_private_address_of_several_refuses_the_name() {
        let both = ["8.8.8.8:0", "127.0.0.1:0"].map(|address| address.parse().unwrap()).to_vec();
        let policy = AddressPolicy::of_webhooks(false).with_lookup(Arc::new(move |_| {
            let both = both.clone();
            Box::pin(async move { Ok(both) })
        }));
        let webhooks = Webhooks::with(&Config::default(), policy);
        assert_eq!(webhooks.checked("http://example.com/").await.unwrap_err().kind, "forbidden_address");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_accepted() {
        let fails = AddressPolicy::of_webhooks(false)
            .with_lookup(Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) })));
        let webhooks = Webhooks::with(&Config::default(), fails);
        assert_eq!(webhooks.checked("http://example.com/").await, Ok(()));
    }

    #[tokio::test]
    async fn an_error_does_not_repeat_the_address() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config { allow_private_webhooks: true, ..Config::default() };
        let webhooks = Webhooks::new(&config);
        let nobody = {
            let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::OK);
            receiver.url("/hook?token=swordfish")
        };
        let error = webhooks.caller.call(&nobody, HeaderMap::new(), Bytes::new()).await.unwrap_err();
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }
}
