//! Who sent a request.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use glimpse_shared::{job::ANONYMOUS, store::Quota, weight::Weight};

use crate::{error::ApiError, keys::Key, state::Api};

/// Who sent a request. The guard of the routes puts it into the request.
#[derive(Clone)]
pub(crate) struct Caller(Option<Arc<Key>>);

impl Caller {
    /// Anybody, where there are no keys. Sees every job, whose id it must know.
    pub(crate) fn anyone() -> Self {
        Self(None)
    }

    /// The holder of a key. Sees only the jobs of its tenant.
    pub(crate) fn holder(key: Arc<Key>) -> Self {
        Self(Some(key))
    }

    /// The tenant of its jobs.
    pub(crate) fn tenant(&self) -> &str {
        self.0.as_ref().map_or(ANONYMOUS, |key| key.tenant())
    }

    /// The tenant whose jobs are the only ones that it sees; `None` if it sees all.
    pub(crate) fn only(&self) -> Option<&str> {
        self.0.as_ref().map(|key| key.tenant())
    }

    /// What its tenant may have in the store at once.
    pub(crate) fn quota(&self) -> Quota {
        Quota { unfinished: self.0.as_ref().and_then(|key| key.max_concurrent()) }
    }

    /// The share of a busy fleet that its tenant gets.
    pub(crate) fn weight(&self) -> Weight {
        self.0.as_ref().map_or(Weight::ONE, |key| key.weight())
    }

    /// Its key.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.0.as_deref()
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    /// # Errors
    /// If the route has no guard, which is a bug: nobody is let in by mistake.
    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Defect)
    }
}
