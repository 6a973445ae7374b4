//! Access to the intermediate tensors of a forward pass, for tests and dumps.

use std::fmt;

use candle_core::Tensor;

/// Called with a module's path and output.
type TensorObserver<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// Passes the outputs of modules to an observer, if there is one.
pub struct Taps<'a>(Option<TensorObserver<'a>>);

impl<'a> Taps<'a> {
    /// No observer.
    pub fn none() -> Self {
        Self(None)
    }

    /// Calls `observer` with each module's path, as in the weight files, and output.
    pub fn to(observer: TensorObserver<'a>) -> Self {
        Self(Some(observer))
    }

    /// Passes on the output of one module. The name is only formatted if there is an observer.
    pub fn see(&mut self, name: fmt::Arguments<'_>, output: &Tensor) {
        if let Some(observer) = &mut self.0 {
            observer(&name.to_string(), output);
        }
    }
}

impl fmt::Debug for Taps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taps").field(&self.0.is_some()).finish()
    }
}
