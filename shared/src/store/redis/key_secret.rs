//! The fleet's secrets: for the ids of jobs with an idempotency key, and the seed of the key that signs webhooks.

use super::{backend::Backend, scripts::SECRET};
use crate::{
    error::{StoreError, StoreResult},
    id::KeySecret,
};

impl Backend {
    pub(super) async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.secret(self.keys.secret()).await
    }

    pub(super) async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.secret(self.keys.webhook_seed()).await
    }

    /// The secret at this key. The first call creates it.
    async fn secret(&self, key: String) -> StoreResult<KeySecret> {
        let fresh = KeySecret::random().to_hex();
        let answer = SECRET.keys([key.clone()]).text(&fresh).read(&self.nodes).await?;
        // The error does not repeat the value, which may be part of a secret.
        let corrupt = || StoreError::Corrupt(format!("{key} does not hold a secret of this program"));
        let kept: String = redis::from_redis_value(answer).map_err(|_| corrupt())?;
        kept.parse().map_err(|_| corrupt())
    }
}
