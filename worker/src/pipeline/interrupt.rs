//! Tells a pipeline during its work that the job must stop.

use std::fmt;

use super::error::PipelineError;

/// Checked between the long parts of a job. The service sets it.
#[derive(Clone, Copy)]
pub struct Interrupt<'a>(&'a dyn Fn() -> bool);

impl<'a> Interrupt<'a> {
    /// The work stops when `stopped` returns true.
    pub fn when(stopped: &'a dyn Fn() -> bool) -> Self {
        Self(stopped)
    }

    /// The work is never stopped.
    pub fn never() -> Self {
        Self(&|| false)
    }

    /// Checks whether to continue.
    ///
    /// # Errors
    /// [`PipelineError::Interrupted`] if the work must stop.
    pub fn check(&self) -> Result<(), PipelineError> {
        if (self.0)() { Err(PipelineError::Interrupted) } else { Ok(()) }
    }
}

impl fmt::Debug for Interrupt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&(self.0)()).finish()
    }
}
