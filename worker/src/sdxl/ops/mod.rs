//! The arithmetic that the models are made of, each operation in two implementations.
//!
//! On a CPU the functions of this module run on plain slices: 3x3 convolutions, exact GELU, softmax and
//! group norm are two to ten times slower in candle than in torch there. On every other device they are
//! the candle operations of [`portable`], which are also what a test compares the CPU kernels with.
//!
//! On a CPU all arithmetic is f32: tensors of another type are widened, and the result is rounded back.

mod activation;
mod arguments;
mod attention;
mod conv;
mod finite;
mod gemm;
mod linear;
mod norm;
pub mod portable;
mod simd;
mod slices;

pub use activation::geglu;
pub use arguments::{Activation, Mask, Padding};
pub use attention::attention;
pub use conv::conv2d;
pub use finite::is_finite;
pub use linear::linear;
pub use norm::{group_norm, layer_norm};
