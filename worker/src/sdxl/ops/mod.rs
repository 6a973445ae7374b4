//! The operations of the models, each with two implementations.
//!
//! On a CPU the functions run on plain slices, because candle's 3x3 convolutions, exact GELU, softmax and group norm
//! are two to ten times slower than torch's. On other devices they are the candle operations of [`portable`]. A test
//! compares both.
//!
//! On a CPU all arithmetic is f32: tensors of another dtype are converted, and the result is rounded to that dtype.

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
