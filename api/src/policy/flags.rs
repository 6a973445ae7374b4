//! The flags about prompts.

use glimpse_shared::verdict::{EndpointUrl, OnFailure};

use super::blocklist::Blocklist;

/// What may be drawn.
#[derive(Debug, Clone, clap::Args)]
pub struct PolicyFlags {
    /// A text file with a word or a phrase a line, `#` begins a comment: a prompt that has one of them, in any case, gets
    /// 422. Read at the start.
    #[arg(long, env = "GLIMPSE_PROMPT_BLOCKLIST", value_name = "FILE", value_parser = Blocklist::read)]
    pub prompt_blocklist: Option<Blocklist>,

    /// An address of yours that decides about each prompt before its job is queued: it gets a POST with `app`, `tenant`,
    /// `prompt` and `negative_prompt` as JSON, and answers `{"allowed": true}`, or false and a `reason`.
    #[arg(long, env = "GLIMPSE_MODERATION_URL", value_name = "URL")]
    pub moderation_url: Option<EndpointUrl>,

    /// Seconds that --moderation-url has for its answer, 1 to 60.
    #[arg(long, env = "GLIMPSE_MODERATION_TIMEOUT", value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=60))]
    pub moderation_timeout: u64,

    /// What happens to a request when --moderation-url gives no answer: refuse is 503, allow serves it.
    #[arg(long, env = "GLIMPSE_MODERATION_FAILURE", value_enum, default_value = "refuse")]
    pub moderation_failure: OnFailure,
}

impl Default for PolicyFlags {
    /// The defaults of the flags.
    fn default() -> Self {
        Self {
            prompt_blocklist: None,
            moderation_url: None,
            moderation_timeout: 5,
            moderation_failure: OnFailure::Refuse,
        }
    }
}
