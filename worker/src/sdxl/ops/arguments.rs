//! The arguments of the operations besides tensors.

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
