//! The result of a request.

use glimpse_shared::event::Warning;

/// Finished pictures, at least one.
pub struct Made {
    /// Encoded in the requested format.
    pub encoded: Vec<Vec<u8>>,
    /// The media type of this format.
    pub content_type: String,
    /// The seed that reproduces them.
    pub seed: u64,
    /// The seed of each picture, if the request gave them.
    pub seeds: Vec<u64>,
    /// The parts of the request that had no effect.
    pub warnings: Vec<Warning>,
}

impl Made {
    /// Only the picture of this number, from 0, if it is given.
    pub fn only(mut self, index: Option<usize>) -> Self {
        let Some(index) = index.filter(|index| *index < self.encoded.len()) else { return self };
        self.encoded = vec![self.encoded.swap_remove(index)];
        if let Some(seed) = self.seeds.get(index) {
            self.seeds = vec![*seed];
        }
        self
    }
}
