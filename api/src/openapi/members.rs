//! Which members an object in a request may have.

/// The members of objects in a request, such as a LoRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// Ours. Others are refused.
    Closed,
    /// Ours. Others are ignored.
    Open,
    /// Ours and fal's. Others are ignored.
    Fals,
}
