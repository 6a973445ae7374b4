//! What a pass over the kept pictures did.

/// The result of a pass that deletes expired pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many pictures were deleted.
    pub deleted: usize,
    /// Whether the pass ended before it had seen all expired pictures, because it had deleted as many as it may.
    pub more: bool,
    /// The first error. The pass went on with the other pictures, and the next pass tries again.
    pub failed: Option<String>,
}

impl Swept {
    /// Records an error.
    pub(super) fn fail(&mut self, error: impl ToString) {
        self.failed.get_or_insert_with(|| error.to_string());
    }
}
