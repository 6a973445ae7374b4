//! What an operator does not allow to be drawn. A prompt is checked before its job is queued: against a list of words, and
//! by an endpoint of the operator's.
//!
//! ```text
//! flags.rs      the flags
//! blocklist.rs  the list of words
//! moderator.rs  the endpoint
//! ```

mod blocklist;
mod flags;
mod moderator;

use std::time::Duration;

use glimpse_shared::{
    id::App,
    request::{FieldError, ImageSpec},
    verdict::Verdict,
};
use serde_json::Value;

use self::moderator::Moderator;
use crate::error::ApiError;

pub use blocklist::Blocklist;
pub use flags::PolicyFlags;

/// The type of the error of a prompt or a picture that is not allowed, as on fal.
pub(crate) const VIOLATION: &str = "content_policy_violation";

/// The error of a job one of whose pictures is not allowed, in the form of that of a refused prompt. Its worker has asked
/// (`--picture-hook-url`). The prompt itself is not known here.
pub(crate) fn refused_picture(message: String) -> ApiError {
    let error = FieldError::body("prompt", VIOLATION, message, &Value::Null);
    ApiError::field(FieldError { input: None, ..error })
}

/// Whether an error is about what is not allowed.
pub(crate) fn is_violation(error: &ApiError) -> bool {
    matches!(error, ApiError::Fields(fields) if fields.iter().any(|field| field.kind == VIOLATION))
}

/// Decides about prompts.
pub(crate) struct Policy {
    blocklist: Option<Blocklist>,
    moderator: Option<Moderator>,
}

impl Policy {
    pub(crate) fn new(flags: &PolicyFlags) -> Self {
        let timeout = Duration::from_secs(flags.moderation_timeout);
        let moderator = |url| Moderator::new(url, timeout, flags.moderation_failure);
        Self {
            blocklist: flags.prompt_blocklist.clone(),
            moderator: flags.moderation_url.clone().map(moderator),
        }
    }

    /// Checks the prompt of a request. The negative prompt says what not to draw, so the list does not apply to it; the
    /// endpoint sees both.
    ///
    /// # Errors
    /// [`ApiError::Fields`] with the type [`VIOLATION`] if the prompt is not allowed. [`ApiError::ModerationAway`] if the
    /// endpoint does not answer and the operator wants nothing unchecked.
    pub(crate) async fn check(&self, app: &App, tenant: &str, spec: &ImageSpec) -> Result<(), ApiError> {
        let refused = |message: String| {
            ApiError::field(FieldError::body("prompt", VIOLATION, message, &Value::from(spec.prompt())))
        };
        if self.blocklist.as_ref().is_some_and(|list| list.matches(spec.prompt())) {
            return Err(refused(
                "The prompt has words that the operator of this server does not allow".to_owned(),
            ));
        }
        let Some(moderator) = &self.moderator else { return Ok(()) };
        match moderator.ask(app, tenant, spec).await? {
            Verdict { allowed: true, .. } => Ok(()),
            Verdict { reason: Some(reason), .. } => Err(refused(reason)),
            Verdict { reason: None, .. } => {
                Err(refused("The operator of this server does not allow this prompt".to_owned()))
            }
        }
    }
}
