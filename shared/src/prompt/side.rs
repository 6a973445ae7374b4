//! The two prompts of a request.

/// Which of the two prompts of a request a text is. Only the positive one may have `<…>` tags, and only in that one
/// `AND` is a word of the syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What to draw.
    Positive,
    /// What not to draw.
    Negative,
}
