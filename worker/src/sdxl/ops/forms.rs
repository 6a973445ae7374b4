//! Which form of an operation a GPU runs. The portable form is made of candle's operations; the GPU's own form is a
//! kernel of `worker/kernels` or a call of a library, and is used unless the check at start ([`crate::verify`]) has
//! switched it off.

use std::sync::atomic::{AtomicBool, Ordering};

/// An operation that has a form of its own on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// [`super::conv2d`], by cuDNN.
    Conv2d,
    /// [`super::attention`], by FlashAttention-2.
    Attention,
    /// [`super::group_norm`].
    GroupNorm,
    /// [`super::layer_norm`].
    LayerNorm,
    /// [`super::geglu`].
    Geglu,
    /// The sums after a convolution or a linear layer: [`super::Addends`].
    Addends,
    /// [`super::guided_step`].
    GuidedStep,
    /// [`super::pixels`].
    Pixels,
    /// [`super::FiniteWatch`].
    Finite,
}

/// Whether convolutions in f32 may round their factors to TF32.
static TF32: AtomicBool = AtomicBool::new(false);

/// Allows or forbids convolutions in f32 to round their factors to TF32 on a GPU, as torch allows by default. It is for
/// the f32 VAE of a model in half precision: TF32 has the ten bits of f16 and the range of f32. Forbidden at first.
pub fn allow_tf32(allowed: bool) {
    TF32.store(allowed, Ordering::Relaxed);
}

#[cfg(feature = "cudnn")]
pub(super) fn is_tf32_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// By the operation's place in [`Op::ALL`]. One switch for the process: a worker has one device.
static OFF: [AtomicBool; Op::ALL.len()] = [const { AtomicBool::new(false) }; Op::ALL.len()];

impl Op {
    /// All operations.
    pub const ALL: [Self; 9] = [
        Self::Conv2d,
        Self::Attention,
        Self::GroupNorm,
        Self::LayerNorm,
        Self::Geglu,
        Self::Addends,
        Self::GuidedStep,
        Self::Pixels,
        Self::Finite,
    ];

    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv2d => "conv2d",
            Self::Attention => "attention",
            Self::GroupNorm => "group_norm",
            Self::LayerNorm => "layer_norm",
            Self::Geglu => "geglu",
            Self::Addends => "addends",
            Self::GuidedStep => "guided_step",
            Self::Pixels => "pixels",
            Self::Finite => "finite",
        }
    }

    /// Uses the GPU's own form of the operation from now on, or the portable form.
    pub fn use_own(self, own: bool) {
        OFF[self as usize].store(!own, Ordering::Relaxed);
    }

    /// Whether the GPU's own form is used where there is one.
    pub fn is_own_used(self) -> bool {
        !OFF[self as usize].load(Ordering::Relaxed)
    }
}

/// Runs the GPU's own form of an operation, a `Result<Option<T>>`. `None` if the device has none, if it is switched
/// off, or if it does not take these tensors: the caller then runs the portable form.
macro_rules! own_form {
    ($op:ident, $device:expr, $form:expr) => {{
        #[cfg(feature = "cuda")]
        let own = if $device.is_cuda() && super::Op::$op.is_own_used() { $form? } else { None };
        #[cfg(not(feature = "cuda"))]
        let own = None;
        own
    }};
}
pub(super) use own_form;
