//! A weight that adapters may change.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::Tensor;

/// The checkpoint's tensor, and the tensor that replaces it while adapters are active. Clones share both.
#[derive(Debug, Clone)]
pub struct Weight(Rc<Slot>);

#[derive(Debug)]
struct Slot {
    own: Tensor,
    adapted: RefCell<Option<Tensor>>,
}

impl Weight {
    pub(super) fn new(own: Tensor) -> Self {
        Self(Rc::new(Slot { own, adapted: RefCell::default() }))
    }

    /// The checkpoint's tensor.
    pub fn own(&self) -> &Tensor {
        &self.0.own
    }

    /// The current tensor.
    pub fn get(&self) -> Tensor {
        self.0.adapted.borrow().as_ref().unwrap_or(&self.0.own).clone()
    }

    /// Replaces the current tensor; `None` restores the checkpoint's tensor.
    pub fn adapt(&self, adapted: Option<Tensor>) {
        *self.0.adapted.borrow_mut() = adapted;
    }
}
