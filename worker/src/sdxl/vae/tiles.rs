//! The autoencoder in overlapping tiles, for pictures that do not fit into the device's memory whole: `tiled_decode`
//! and `_tiled_encode` of diffusers' `AutoencoderKL` (`models/autoencoders/autoencoder_kl.py`).
//!
//! The norms and the attention see one tile at a time, so the result differs from that of the whole picture. Where
//! tiles overlap they are blended linearly.

use candle_core::{DType, Result, Tensor};

/// Tiles overlap by one of this many parts of their side.
const PARTS: usize = 4;

/// Square tiles that overlap by a quarter of their side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// A quarter of the side, in latents.
    quarter: usize,
}

/// The tiles along one axis of the input, in its pixels or latents.
struct Axis {
    side: usize,
    stride: usize,
}

/// How the outputs of tiles are joined, in units of the output.
struct Seam {
    /// The length over which two tiles are blended.
    blend: usize,
    /// The length of a tile that stays in the picture.
    kept: usize,
}

impl Tiles {
    /// Tiles with a side of `latents`, rounded down to a multiple of 4, at least 4.
    pub fn new(latents: usize) -> Self {
        Self { quarter: (latents / PARTS).max(1) }
    }

    /// The side of a tile, in latents.
    pub fn side(self) -> usize {
        PARTS * self.quarter
    }

    /// Whether latents of this size need more than one tile.
    pub fn divide(self, height: usize, width: usize) -> bool {
        height > self.side() || width > self.side()
    }

    fn axis(self, scale: usize) -> Axis {
        Axis { side: self.side() * scale, stride: (PARTS - 1) * self.quarter * scale }
    }

    fn seam(self, scale: usize) -> Seam {
        Seam { blend: self.quarter * scale, kept: (PARTS - 1) * self.quarter * scale }
    }

    /// Runs the decoder, which makes `scale` pixels of each latent, on latents [B, C, h, w].
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn decode(
        self,
        latents: &Tensor,
        scale: usize,
        decoder: impl FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        join(latents, &self.axis(1), &self.seam(scale), decoder)
    }

    /// Runs the encoder, which makes a latent of each `scale` pixels, on pictures [B, 3, H, W].
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn encode(
        self,
        pictures: &Tensor,
        scale: usize,
        encoder: impl FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        join(pictures, &self.axis(scale), &self.seam(1), encoder)
    }
}

/// Cuts `input` [B, C, H, W] into tiles, runs `network` on one after the other, and joins the outputs.
fn join(
    input: &Tensor,
    axis: &Axis,
    seam: &Seam,
    mut network: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (_, _, height, width) = input.dims4()?;
    let (mut rows, mut above) = (Vec::new(), Vec::new());
    for top in (0..height).step_by(axis.stride) {
        let band = input.narrow(2, top, axis.side.min(height - top))?;
        let (mut row, mut tiles) = (Vec::new(), Vec::<Tensor>::new());
        for (column, left) in (0..width).step_by(axis.stride).enumerate() {
            let tile = band.narrow(3, left, axis.side.min(width - left))?.contiguous()?;
            let mut tile = network(&tile)?;
            // With the neighbours as they are after their own blending.
            if let Some(above) = above.get(column) {
                tile = blend(above, &tile, 2, seam.blend)?;
            }
            if let Some(before) = tiles.last() {
                tile = blend(before, &tile, 3, seam.blend)?;
            }
            let (_, _, tall, wide) = tile.dims4()?;
            row.push(tile.narrow(2, 0, seam.kept.min(tall))?.narrow(3, 0, seam.kept.min(wide))?);
            tiles.push(tile);
        }
        rows.push(Tensor::cat(&row, 3)?);
        above = tiles;
    }
    Tensor::cat(&rows, 2)
}

/// `tile` with its first `extent` lines along `axis` blended with the last lines of `before`: from all of `before` to
/// almost all of `tile`.
fn blend(before: &Tensor, tile: &Tensor, axis: usize, extent: usize) -> Result<Tensor> {
    let (ends, length) = (before.dim(axis)?, tile.dim(axis)?);
    let extent = extent.min(ends).min(length);
    let mut shape = [1; 4];
    shape[axis] = extent;
    let share = (0..extent).map(|line| line as f32 / extent as f32);
    let share = Tensor::from_iter(share, tile.device())?.reshape(&shape)?;
    let part = |tensor: &Tensor, from: usize, share: &Tensor| {
        tensor.narrow(axis, from, extent)?.to_dtype(DType::F32)?.broadcast_mul(share)
    };
    let old = part(before, ends - extent, &share.affine(-1.0, 1.0)?)?;
    let seam = (old + part(tile, 0, &share)?)?.to_dtype(tile.dtype())?;
    match length - extent {
        0 => Ok(seam),
        rest => Tensor::cat(&[&seam, &tile.narrow(axis, extent, rest)?], axis),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn tiles_have_sides_that_are_multiples_of_four() {
        assert_eq!([0, 3, 4, 7, 64, 66].map(|latents| Tiles::new(latents).side()), [4, 4, 4, 4, 64, 64]);
        assert!(Tiles::new(8).divide(9, 1) && Tiles::new(8).divide(1, 9) && !Tiles::new(8).divide(8, 8));
    }

    #[test]
    fn a_network_that_only_enlarges_gives_the_same_picture_in_tiles() {
        for (height, width) in [(1, 1), (4, 4), (5, 3), (7, 10), (13, 9), (24, 1)] {
            let numbers = (0..height * width).map(|i| (i as f32 * 0.7).sin());
            let latents = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
            let latents = latents.reshape((1, 1, height, width)).unwrap();
            let enlarge = |x: &Tensor| {
                let (_, _, height, width) = x.dims4()?;
                x.upsample_nearest2d(2 * height, 2 * width)
            };
            let whole = enlarge(&latents).unwrap();
            for side in [4, 8] {
                let joined = Tiles::new(side).decode(&latents, 2, enlarge).unwrap();
                let apart = (&joined - &whole).unwrap().abs().unwrap().max_all().unwrap();
                assert!(apart.to_scalar::<f32>().unwrap() < 1e-6, "{height}x{width} in tiles of {side}");
            }
        }
    }
}
