//! All changes of one module in one file, and their sum over several files.

use candle_core::{DType, Result, Tensor};

use super::delta::{Delta, Lengths};

/// One of the two tensors of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The weight of a linear layer, a convolution or a norm.
    Weight,
    /// The bias.
    Bias,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Weight, Self::Bias];

    /// The tensor's name in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

/// The changes of one module.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub(super) weight: Vec<Delta>,
    pub(super) bias: Vec<Delta>,
    /// DoRA's lengths, for the weight.
    pub(super) lengths: Option<Lengths>,
}

impl Change {
    /// What is added to a tensor of the module.
    pub fn deltas(&self, slot: Slot) -> &[Delta] {
        match slot {
            Slot::Weight => &self.weight,
            Slot::Bias => &self.bias,
        }
    }

    /// Whether a tensor of the module is changed.
    pub fn has(&self, slot: Slot) -> bool {
        !self.deltas(slot).is_empty()
    }

    /// Whether the changes fit a tensor of this shape.
    pub fn fits(&self, slot: Slot, shape: &[usize]) -> bool {
        let lengths = self.lengths.as_ref().filter(|_| slot == Slot::Weight);
        self.deltas(slot).iter().all(|delta| delta.fits(shape))
            && lengths.is_none_or(|lengths| lengths.fit(shape))
    }

    /// Size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let lengths = self.lengths.as_ref().map_or(0, |lengths| lengths.lengths.elem_count() * 4);
        self.weight.iter().chain(&self.bias).map(Delta::size).sum::<usize>() + lengths
    }

    fn lengths_of(&self, slot: Slot) -> Option<&Lengths> {
        self.lengths.as_ref().filter(|_| slot == Slot::Weight)
    }
}

/// A tensor of a checkpoint plus changes, each with its strength: summed in f32 and rounded once. All must fit.
///
/// First all changes without lengths are added. Then each file with DoRA's lengths replaces the sum `V` by
/// `V + s (L (V + D) - V)`, where D is its change, s its strength, and L sets the lengths of rows or columns.
///
/// # Errors
/// If the device fails.
pub fn merged(own: &Tensor, slot: Slot, changes: &[(&Change, f64)]) -> Result<Tensor> {
    let mut sum = own.to_dtype(DType::F32)?;
    let (with_lengths, plain): (Vec<_>, Vec<_>) =
        changes.iter().partition(|(change, _)| change.lengths_of(slot).is_some());
    for (change, scale) in plain {
        for delta in change.deltas(slot) {
            sum = (sum + delta.of(own, scale)?)?;
        }
    }
    for (change, scale) in with_lengths {
        let Some(lengths) = change.lengths_of(slot) else { continue };
        let mut whole = sum.clone();
        for delta in change.deltas(slot) {
            whole = (whole + delta.of(own, 1.0)?)?;
        }
        let whole = lengths.of(&whole)?;
        sum = if scale == 1.0 { whole } else { (&sum + ((whole - &sum)? * scale)?)? };
    }
    sum.to_dtype(own.dtype())
}
