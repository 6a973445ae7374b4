//! float32 or float16, where a folder has both.

/// Which of a component's files to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The float32 file; the float16 one if there is no other.
    #[default]
    Full,
    /// The float16 file; the float32 one if there is no other.
    Half,
}
