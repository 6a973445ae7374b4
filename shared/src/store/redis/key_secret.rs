//! The fleet's secret for the ids of jobs with an idempotency key.

use super::{backend::Backend, scripts::SECRET};
use crate::{
    error::{StoreError, StoreResult},
    id::KeySecret,
};

impl Backend {
    pub(super) async fn key_secret(&self) -> StoreResult<KeySecret> {
        let fresh = KeySecret::random().to_hex();
        let answer = SECRET.keys([self.keys.secret()]).text(&fresh).read(&self.nodes).await?;
        // The error does not repeat the value, which may be part of a secret.
        let corrupt =
            || StoreError::Corrupt(format!("{} does not hold a secret of this program", self.keys.secret()));
        let kept: String = redis::from_redis_value(answer).map_err(|_| corrupt())?;
        kept.parse().map_err(|_| corrupt())
    }
}
