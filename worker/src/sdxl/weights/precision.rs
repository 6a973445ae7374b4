//! The choice between float32 and float16 files.

/// Which of a component's files to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The float32 file; the float16 file if there is no float32 file.
    #[default]
    Full,
    /// The float16 file; the float32 file if there is no float16 file.
    Half,
}
