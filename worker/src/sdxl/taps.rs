//! Access to the intermediate values of a forward pass, for tests and dumps that look for the first wrong number.

use std::fmt;

use candle_core::Tensor;

/// Called with a module's path and its output.
type Observer<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// Receives the outputs of modules by name; costs nothing without an observer.
pub struct Taps<'a>(Option<Observer<'a>>);

impl<'a> Taps<'a> {
    /// No observer.
    pub fn none() -> Self {
        Self(None)
    }

    /// Calls `observer` with each module's path, as in the weight files, and its output.
    pub fn to(observer: Observer<'a>) -> Self {
        Self(Some(observer))
    }

    /// Passes on the output of one module; its name is formatted only if there is an observer.
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
