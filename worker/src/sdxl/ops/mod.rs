//! The operations of the models, each with two or three implementations.
//!
//! On a CPU the functions run on plain slices, because candle's 3x3 convolutions, exact GELU, softmax and group norm
//! are two to ten times slower than torch's. On an NVIDIA GPU they are the kernels and library calls of `cuda`, as
//! [`Op`] says. Everywhere else, and for what those do not take, they are the candle operations of [`portable`]. Tests
//! compare the CPU's form with the portable one, and [`crate::verify`] compares a GPU's forms when a worker starts.
//!
//! On a CPU all arithmetic is f32: tensors of another dtype are converted, and the result is rounded to that dtype.

mod activation;
mod addends;
mod arguments;
mod attention;
mod bands;
mod conv;
#[cfg(feature = "cuda")]
mod cuda;
mod finite;
mod forms;
mod gemm;
mod guidance;
pub mod kernels;
mod linear;
mod norm;
mod pixels;
pub mod portable;
mod simd;
mod slices;
mod uploads;

pub use activation::geglu;
pub use addends::add;
pub use arguments::{Activation, Addends, Channels, LinearStep, Mask, Padding};
pub use attention::attention;
pub use conv::conv2d;
#[cfg(feature = "cuda")]
pub use cuda::{prepare as prepare_cuda, release as release_cuda, release_graphs as release_cuda_graphs};
pub use finite::{FiniteWatch, is_finite};
pub use forms::{Op, allow_tf32};
pub use guidance::guided_step;
pub use linear::linear;
pub use norm::{group_norm, layer_norm};
pub use pixels::pixels;
pub use uploads::KeptUploads;
