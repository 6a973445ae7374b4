//! What a request brought.

use glimpse_shared::event::Warning;

/// Finished pictures, at least one.
pub struct Made {
    /// Each in the format that was asked for.
    pub encoded: Vec<Vec<u8>>,
    /// The seed that gives them again.
    pub seed: u64,
    /// The parts of the request that had no effect.
    pub warnings: Vec<Warning>,
}
