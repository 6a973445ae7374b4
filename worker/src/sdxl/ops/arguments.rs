//! The arguments of the operations besides single tensors.

use candle_core::Tensor;

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x); `silu` and `swish` in configurations.
    Silu,
    /// x * Phi(x), exact; `gelu`.
    Gelu,
    /// x * sigmoid(1.702 x); `quick_gelu`.
    QuickGelu,
    /// max(x, 0); `relu`.
    Relu,
}

impl Activation {
    /// The function of this name in diffusers or transformers; `None` if it is not implemented.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "quick_gelu" => Some(Self::QuickGelu),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }
}

/// The keys that a query attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All keys.
    None,
    /// The keys up to its own position, as in a text encoder.
    Causal,
}

/// Zero padding in pixels. The VAE encoder's stride-2 convolutions pad only right and bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Above and left.
    pub before: usize,
    /// Below and right.
    pub after: usize,
}

impl Padding {
    /// The same padding on every side.
    pub fn even(pixels: usize) -> Self {
        Self { before: pixels, after: pixels }
    }
}

/// The addends after a product, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addends<'a> {
    /// A number for each channel: \[C\].
    pub bias: Option<&'a Tensor>,
    /// A number for each picture and channel, as the time embedding of diffusers' `ResnetBlock2D`: [B, C].
    pub shift: Option<&'a Tensor>,
    /// A tensor of the product's shape.
    pub residual: Option<&'a Tensor>,
}

impl<'a> From<Option<&'a Tensor>> for Addends<'a> {
    fn from(bias: Option<&'a Tensor>) -> Self {
        Self { bias, ..Self::default() }
    }
}

/// The axis of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// [B, C, ..], after a convolution.
    Second,
    /// [.., C], after a linear layer.
    Last,
}

/// A step that is linear in latents and prediction: next = a sample + b prediction, and the estimate of the finished
/// latents is c sample + d prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearStep {
    /// The latents in the next latents.
    pub a: f64,
    /// The prediction in the next latents.
    pub b: f64,
    /// The latents in the estimate.
    pub c: f64,
    /// The prediction in the estimate.
    pub d: f64,
}
