//! What a request brought.

/// Finished pictures, at least one.
pub struct Made {
    /// Each in the format that was asked for.
    pub encoded: Vec<Vec<u8>>,
    /// The seed that gives them again.
    pub seed: u64,
}
