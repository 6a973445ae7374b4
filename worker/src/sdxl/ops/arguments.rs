//! What the operations are given beside tensors.

/// A function that is applied number by number.
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
    /// The function of that name in diffusers or transformers, or `None`.
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

/// Which keys a query may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at its own position and before, as in a text encoder.
    Causal,
}

/// Zeros around a picture, in pixels. An encoder's stride-2 convolutions pad right and bottom alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Above and left of the picture.
    pub before: usize,
    /// Below and right of it.
    pub after: usize,
}

impl Padding {
    /// The same number of zeros on every side.
    pub fn even(pixels: usize) -> Self {
        Self { before: pixels, after: pixels }
    }
}
