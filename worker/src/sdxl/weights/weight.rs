//! A weight that adapters may change, and that may rest in host memory.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Device, Result, Tensor};

/// The checkpoint's tensor, and the tensors that stand in for it: one while adapters are active, and one while a model
/// that rests in host memory visits its device. Clones share all of them.
#[derive(Debug, Clone)]
pub struct Weight(Rc<Slot>);

/// The tensors of one module that adapters may change.
#[derive(Debug, Clone, Default)]
pub struct ModuleWeights {
    /// The weight, if the module has one.
    pub weight: Option<Weight>,
    /// The bias, if the module has one.
    pub bias: Option<Weight>,
}

static CHANGES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Slot {
    own: RefCell<Tensor>,
    adapted: RefCell<Option<Tensor>>,
    visiting: RefCell<Option<Tensor>>,
}

impl Weight {
    pub(super) fn new(own: Tensor) -> Self {
        let own = RefCell::new(own);
        Self(Rc::new(Slot { own, adapted: RefCell::default(), visiting: RefCell::default() }))
    }

    /// The checkpoint's tensor.
    pub fn own(&self) -> Tensor {
        self.0.own.borrow().clone()
    }

    /// The current tensor.
    pub fn get(&self) -> Tensor {
        let Slot { own, adapted, visiting } = &*self.0;
        let stand_in = visiting.borrow().clone().or_else(|| adapted.borrow().clone());
        stand_in.unwrap_or_else(|| own.borrow().clone())
    }

    /// Replaces the current tensor; `None` restores the checkpoint's tensor.
    pub fn adapt(&self, adapted: Option<Tensor>) {
        *self.0.adapted.borrow_mut() = adapted;
        CHANGES.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of changes and moves of weights so far. While it stays the same, no weight gets another place in
    /// memory, except those that visit a device.
    pub fn changes() -> u64 {
        CHANGES.load(Ordering::Relaxed)
    }

    /// Moves the weight to another device, the adapted tensor too. Without effect if it is there already.
    ///
    /// # Errors
    /// If a device fails.
    pub fn move_to(&self, device: &Device) -> Result<()> {
        let adapted = self.0.adapted.borrow().as_ref().map(|tensor| tensor.to_device(device)).transpose()?;
        self.keep_own_on(device)?;
        *self.0.adapted.borrow_mut() = adapted;
        Ok(())
    }

    /// Moves only the checkpoint's tensor to another device, for as long as another tensor replaces it.
    ///
    /// # Errors
    /// If a device fails.
    pub fn keep_own_on(&self, device: &Device) -> Result<()> {
        let own = self.0.own.borrow().to_device(device)?;
        *self.0.own.borrow_mut() = own;
        CHANGES.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Copies the current tensor to a device. Until [`Weight::leave`] this copy is the current tensor.
    ///
    /// # Errors
    /// If a device fails, for example if it has no memory left.
    pub fn visit(&self, device: &Device) -> Result<()> {
        let copy = self.get().to_device(device)?;
        *self.0.visiting.borrow_mut() = Some(copy);
        Ok(())
    }

    /// Drops the copy of [`Weight::visit`].
    pub fn leave(&self) {
        *self.0.visiting.borrow_mut() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(weight: &Weight) -> f32 {
        weight.get().to_scalar().unwrap()
    }

    #[test]
    fn a_visit_has_the_adapted_tensor_and_ends_with_it() {
        let tensor = |number: f32| Tensor::new(number, &Device::Cpu).unwrap();
        let weight = Weight::new(tensor(1.0));
        weight.adapt(Some(tensor(2.0)));
        weight.move_to(&Device::Cpu).unwrap();
        let shared = weight.clone();
        weight.visit(&Device::Cpu).unwrap();
        assert_eq!(number(&shared), 2.0);
        // A change during a visit is seen after it: what is on the device stays as it came.
        weight.adapt(None);
        assert_eq!(number(&shared), 2.0);
        weight.leave();
        assert_eq!((number(&shared), shared.own().to_scalar::<f32>().unwrap()), (1.0, 1.0));
    }
}
