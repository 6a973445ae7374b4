//! A decoder's output as 8-bit pixels.

use candle_core::{Result, Tensor};

use super::forms::own_form;
use super::portable;

/// The bytes of `images` \[B, 3, H, W\] in -1..1, as \[B, H, W, 3\]: x/2 + 1/2, clamped, times 255, rounded half to
/// even as in numpy. `None` if a number is not finite. A GPU's own form sends bytes to the host, not f32 numbers.
///
/// # Errors
/// If the shape is another or the device fails.
pub fn pixels(images: &Tensor) -> Result<Option<Vec<u8>>> {
    match own_form!(Pixels, images.device(), super::cuda::pixels(images)) {
        Some(bytes) => Ok(bytes),
        None => portable::pixels(images),
    }
}
