//! How a pipeline learns, in the middle of its work, that nobody wants it any more.

use std::fmt;

use super::error::PipelineError;

/// Asked between the parts of a job that take long. What it answers is the service's business.
#[derive(Clone, Copy)]
pub struct Interrupt<'a>(&'a dyn Fn() -> bool);

impl<'a> Interrupt<'a> {
    /// The work is to stop once `stopped` is true.
    pub fn when(stopped: &'a dyn Fn() -> bool) -> Self {
        Self(stopped)
    }

    /// The work goes on to its end.
    pub fn never() -> Self {
        Self(&|| false)
    }

    /// Goes on, or not.
    ///
    /// # Errors
    /// [`PipelineError::Interrupted`] if nobody wants the work any more.
    pub fn check(&self) -> Result<(), PipelineError> {
        if (self.0)() { Err(PipelineError::Interrupted) } else { Ok(()) }
    }
}

impl fmt::Debug for Interrupt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&(self.0)()).finish()
    }
}
