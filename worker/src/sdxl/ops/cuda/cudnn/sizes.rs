//! The sizes of a convolution, which cuDNN counts with 32 bits.

use candle_core::DType;

use crate::sdxl::ops::forms;

/// What cuDNN must know to choose an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    pub(super) dtype: DType,
    /// [B, I, H, W].
    pub(super) x: [i32; 4],
    /// [O, I, kh, kw].
    pub(super) weight: [i32; 4],
    /// [B, O, H', W'].
    pub(super) y: [i32; 4],
    /// On each side, in pixels.
    pub(super) padding: i32,
    pub(super) stride: i32,
    /// Whether factors in f32 may be rounded to TF32.
    pub(super) tf32: bool,
}

type Dims = (usize, usize, usize, usize);

impl Sizes {
    /// `None` if the tensors do not match or one size does not fit 32 bits.
    pub(crate) fn new(dtype: DType, x: Dims, weight: Dims, padding: usize, stride: usize) -> Option<Self> {
        let small = |(a, b, c, d): Dims| -> Option<[i32; 4]> {
            Some([a.try_into().ok()?, b.try_into().ok()?, c.try_into().ok()?, d.try_into().ok()?])
        };
        let out = |pixels: usize, kernel: usize| -> Option<usize> {
            Some((pixels + 2 * padding).checked_sub(kernel)?.checked_div(stride)? + 1)
        };
        if x.1 != weight.1 {
            return None;
        }
        Some(Self {
            dtype,
            x: small(x)?,
            weight: small(weight)?,
            y: small((x.0, weight.0, out(x.2, weight.2)?, out(x.3, weight.3)?))?,
            padding: padding.try_into().ok()?,
            stride: stride.try_into().ok()?,
            tf32: dtype == DType::F32 && forms::is_tf32_allowed(),
        })
    }

    pub(crate) fn batch(&self) -> usize {
        self.x[0] as usize
    }

    pub(crate) fn with_batch(mut self, batch: usize) -> Self {
        self.x[0] = batch as i32;
        self.y[0] = batch as i32;
        self
    }

    /// The shape of the result.
    pub(crate) fn output(&self) -> Vec<usize> {
        self.y.iter().map(|size| *size as usize).collect()
    }

    /// The largest batch, at most the whole, whose numbers in x and in y 32 bits can count. 0 if not even one picture
    /// fits.
    pub(crate) fn pictures_at_once(&self) -> usize {
        let count = |dims: [i32; 4]| dims[1..].iter().map(|size| *size as usize).product::<usize>();
        (i32::MAX as usize / count(self.x).max(count(self.y)).max(1)).min(self.batch())
    }
}
