//! An NVIDIA GPU's own forms of the operations: the kernels of `worker/kernels`, cuDNN and FlashAttention-2.
//!
//! `None` means that a form does not take these tensors: another dtype, a shape beyond the launches of
//! [`super::kernels`], an empty tensor, or a build without the library. Nothing here waits for the GPU but
//! [`pixels::pixels`].

mod attention;
mod convolution;
#[cfg(feature = "cudnn")]
mod cudnn;
mod elementwise;
mod launching;
mod norms;
mod pixels;
mod preparation;
mod sampling;
mod tensors;

pub(super) use attention::attention;
pub(super) use convolution::conv2d;
pub(super) use elementwise::{add, geglu};
pub(super) use norms::{group_norm, layer_norm};
pub(super) use pixels::{finite, pixels};
pub use preparation::{prepare, release, release_graphs};
pub(super) use sampling::guided_step;
