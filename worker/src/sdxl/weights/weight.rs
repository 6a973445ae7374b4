//! A weight that adapters may change.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::Tensor;

/// The checkpoint's tensor, and the tensor that replaces it while adapters are active. Clones share both.
#[derive(Debug, Clone)]
pub struct Weight(Rc<Slot>);

static CHANGES: AtomicU64 = AtomicU64::new(0);

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
        CHANGES.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of changes of any weight so far. While it stays, all weights stay where they are in memory.
    pub fn changes() -> u64 {
        CHANGES.load(Ordering::Relaxed)
    }
}
