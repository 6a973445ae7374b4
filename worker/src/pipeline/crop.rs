//! Inpainting in a part of the picture: `padding_mask_crop` of diffusers' inpainting pipelines (`get_crop_region`,
//! `_resize_and_fill` and `apply_overlay` in `image_processor.py`), with Pillow's arithmetic.

use super::error::PipelineError;
use super::picture::Rgb;
use super::resample::Filter;

/// The part of a picture around its mask, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

/// What is pasted back into the picture when the part is finished.
#[derive(Debug, Clone)]
pub(super) struct Paste {
    image: Rgb,
    mask: Rgb,
    region: Region,
}

impl Region {
    /// The part around the pixels of `mask` that are not black, with `margin` pixels more, and enlarged to about the
    /// aspect ratio of `to` (width, height).
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if the mask is black.
    fn around(mask: &Rgb, to: (u32, u32), margin: u32) -> Result<Self, PipelineError> {
        let (width, height, margin) = (i64::from(mask.width), i64::from(mask.height), i64::from(margin));
        let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
        for y in 0..mask.height {
            for x in 0..mask.width {
                if mask.luma(x, y) > 0 {
                    (left, top) = (left.min(x.into()), top.min(y.into()));
                    (right, bottom) = (right.max(i64::from(x) + 1), bottom.max(i64::from(y) + 1));
                }
            }
        }
        if left >= right {
            return Err(PipelineError::bad("mask", "is black everywhere: nothing is to change"));
        }
        let (left, right) = ((left - margin).max(0), (right + margin).min(width));
        let (top, bottom) = ((top - margin).max(0), (bottom + margin).min(height));
        let ratio = f64::from(to.0) / f64::from(to.1);
        let (across, down) = (right - left, bottom - top);
        if across as f64 / down as f64 > ratio {
            let (top, bottom) = grown(top, bottom, (across as f64 / ratio - down as f64) as i64, height);
            return Ok(Self { left, top, right, bottom });
        }
        let (left, right) = grown(left, right, (down as f64 * ratio - across as f64) as i64, width);
        Ok(Self { left, top, right, bottom })
    }
}

/// The range from `low` to `high`, larger by `more` where `size` has room.
fn grown(low: i64, high: i64, more: i64, size: i64) -> (i64, i64) {
    let (mut low, mut high) = (low - more / 2, high + more - more / 2);
    if high >= size {
        (low, high) = (low - (high - size), size);
    }
    if low < 0 {
        (low, high) = (0, high - low);
    }
    (low, high.min(size))
}

impl Paste {
    /// Cuts the part around the mask out of a picture and of a mask of the same size. Returns both in the size `to`
    /// (width, height).
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if the mask is black.
    pub(super) fn cut(
        image: &Rgb,
        mask: &Rgb,
        to: (u32, u32),
        margin: u32,
    ) -> Result<(Self, [Rgb; 2]), PipelineError> {
        let region = Region::around(mask, to, margin)?;
        let cut = |picture: &Rgb| picture.cropped(region).filled(to);
        let parts = [cut(image), cut(mask)];
        Ok((Self { image: image.clone(), mask: mask.clone(), region }, parts))
    }

    /// The picture with the finished part under it where the mask is white.
    pub(super) fn back(&self, part: &Rgb) -> Rgb {
        let Region { left, top, right, bottom } = self.region;
        let part = part.covering(((right - left) as u32, (bottom - top) as u32));
        let mut data = Vec::with_capacity(self.image.data.len());
        for y in 0..self.image.height {
            for x in 0..self.image.width {
                let (px, py) = (i64::from(x) - left, i64::from(y) - top);
                let inside = px >= 0 && py >= 0 && px < right - left && py < bottom - top;
                let below = if inside { part.pixel(px as u32, py as u32) } else { [0; 3] };
                let keep = 255 - u32::from(self.mask.luma(x, y));
                let own = self.image.pixel(x, y);
                data.extend((0..3).map(|c| over(u32::from(own[c]), keep, u32::from(below[c]))));
            }
        }
        Rgb { data, ..self.image }
    }
}

/// A channel of the picture over the one below it, as Pillow computes it: premultiplied by `alpha` and divided by it
/// again, then composed.
fn over(own: u32, alpha: u32, below: u32) -> u8 {
    if alpha == 0 {
        return below as u8;
    }
    let by_255 = |value: u32| ((value >> 8) + value) >> 8;
    let premultiplied = by_255(own * alpha + 128);
    let own = if alpha == 255 { premultiplied } else { (255 * premultiplied / alpha).min(255) };
    // Seven fractional bits.
    let (ours, theirs) = (alpha << 7, (255 - alpha) << 7);
    (by_255(own * ours + below * theirs + (0x80 << 7)) >> 7) as u8
}

impl Rgb {
    /// A part of the picture; black outside of it.
    fn cropped(&self, region: Region) -> Self {
        let Region { left, top, right, bottom } = region;
        let pixel = |x: i64, y: i64| match (u32::try_from(x), u32::try_from(y)) {
            (Ok(x), Ok(y)) if x < self.width && y < self.height => self.pixel(x, y),
            _ => [0; 3],
        };
        let data = (top..bottom).flat_map(|y| (left..right).flat_map(move |x| pixel(x, y))).collect();
        Self { width: (right - left) as u32, height: (bottom - top) as u32, data }
    }

    /// The picture as large as fits into a size, in the middle of it; the borders repeat its edges.
    fn filled(&self, (width, height): (u32, u32)) -> Self {
        let (ratio, own) =
            (f64::from(width) / f64::from(height), f64::from(self.width) / f64::from(self.height));
        let inner = (
            if ratio < own { width } else { (self.width * height / self.height).max(1) },
            if ratio >= own { height } else { (self.height * width / self.width).max(1) },
        );
        let resized = self.resized_by(inner.0, inner.1, Filter::Lanczos);
        let (left, top) = (width / 2 - inner.0 / 2, height / 2 - inner.1 / 2);
        let mut out = Self { width, height, data: vec![0; 3 * width as usize * height as usize] };
        out.paste(&resized, left, top);
        let (w, h) = (f64::from(inner.0), f64::from(inner.1));
        if ratio < own && top > 0 {
            let edge = |y: f64| resized.part_resized((0.0, y, w, y), width, top, Filter::Bicubic);
            out.paste(&edge(0.0), 0, 0);
            out.paste(&edge(h), 0, top + inner.1);
        } else if ratio > own && left > 0 {
            let edge = |x: f64| resized.part_resized((x, 0.0, x, h), left, height, Filter::Bicubic);
            out.paste(&edge(0.0), 0, 0);
            out.paste(&edge(w), left + inner.0, 0);
        }
        out
    }

    /// The middle of the picture, just large enough to cover a size.
    fn covering(&self, (width, height): (u32, u32)) -> Self {
        let (ratio, own) =
            (f64::from(width) / f64::from(height), f64::from(self.width) / f64::from(self.height));
        let inner = (
            if ratio > own { width } else { (self.width * height / self.height).max(1) },
            if ratio <= own { height } else { (self.height * width / self.width).max(1) },
        );
        let resized = self.resized_by(inner.0, inner.1, Filter::Lanczos);
        let (left, top) =
            (i64::from(inner.0 / 2) - i64::from(width / 2), i64::from(inner.1 / 2) - i64::from(height / 2));
        let (right, bottom) = (left + i64::from(width), top + i64::from(height));
        resized.cropped(Region { left, top, right, bottom })
    }

    /// Copies a picture to a place in this one, as far as it is inside.
    fn paste(&mut self, from: &Self, left: u32, top: u32) {
        for y in 0..from.height.min(self.height.saturating_sub(top)) {
            for x in 0..from.width.min(self.width.saturating_sub(left)) {
                let at = 3 * ((top + y) as usize * self.width as usize + (left + x) as usize);
                self.data[at..at + 3].copy_from_slice(&from.pixel(x, y));
            }
        }
    }
}
