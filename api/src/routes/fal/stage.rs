//! fal's words for where a request is.

use serde::Serialize;
use utoipa::ToSchema;

/// Where a request is. A failed or cancelled request is completed with an error.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = RequestStage)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Stage {
    InQueue,
    InProgress,
    Completed,
}
