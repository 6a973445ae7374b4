//! Jobs in parts: a refiner for the last steps, inpainting in a part of the picture, and a second pass at a larger size.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    field_error::{FieldError, Loc},
    fields::{Fields, Least},
    pictures::{MAX_STRENGTH, Original, STRENGTH},
    size::{GRID, SIDE, Size},
};

/// The largest `denoising_end`: one of a thousand training steps is left.
pub const MAX_DENOISING_END: f64 = 0.999;
/// The largest aesthetic score.
pub const MAX_SCORE: f64 = 10.0;
/// The aesthetic scores that a refiner is told without others: of the picture, and of what it is not to look like.
pub const SCORES: [f64; 2] = [6.0, 2.5];
/// The largest margin around a mask, in pixels.
pub const MAX_MASK_PADDING: u64 = 256;
/// The largest growth of a second pass.
pub const MAX_HIRES_SCALE: f64 = 4.0;
/// The default growth of a second pass.
pub const HIRES_SCALE: f64 = 1.5;

/// A second pass: the finished pictures are enlarged, and image-to-image goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hires {
    pub(super) scale: f64,
    pub(super) strength: f64,
    pub(super) steps: u32,
}

impl Hires {
    /// How much larger each side becomes: 1 to 4.
    pub fn scale(self) -> f64 {
        self.scale
    }

    /// The share of the steps that are run: above 0, at most 1.
    pub fn strength(self) -> f64 {
        self.strength
    }

    /// Denoising steps: 1 to 50.
    pub fn steps(self) -> u32 {
        self.steps
    }

    /// Each side times the scale, rounded to a multiple of 8.
    fn size_of(self, size: Size) -> Size {
        let side = |side: u32| {
            let grid = f64::from(GRID);
            ((f64::from(side) * self.scale / grid + 0.5).floor() * grid) as u32
        };
        Size { width: side(size.width), height: side(size.height) }
    }
}

/// What divides a job, or its picture, into parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Parts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) denoising_end: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aesthetic_score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) negative_aesthetic_score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) padding_mask_crop: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hires: Option<Hires>,
}

impl Parts {
    pub(super) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The size of the largest picture of the job, whose first has this size.
    pub(super) fn largest(&self, size: Size) -> Size {
        self.hires.map_or(size, |hires| hires.size_of(size))
    }

    /// Steps of the second pass.
    pub(super) fn steps(&self) -> u32 {
        self.hires.map_or(0, |hires| Original::steps(hires.strength, hires.steps))
    }
}

impl Fields {
    /// Reads the parts. `steps` is `num_inference_steps`, `size` that of the picture, and `most` the largest in pixels.
    pub(super) fn parts(&mut self, steps: u32, original: Option<&Original>, size: Size, most: u64) -> Parts {
        let mask = original.and_then(|original| original.mask.as_ref());
        let denoising_end = self.float("denoising_end", Least::Above(0.0), MAX_DENOISING_END);
        if let (Some(share), Some(_)) = (denoising_end, mask) {
            let msg = "Input should come without a mask: a refiner does not keep what the mask keeps";
            self.wrong("denoising_end", "unexpected_mask", msg, &share.into());
        }
        let aesthetic_score = self.float("aesthetic_score", Least::From(0.0), MAX_SCORE);
        let negative_aesthetic_score = self.float("negative_aesthetic_score", Least::From(0.0), MAX_SCORE);
        let padding = self.integer("padding_mask_crop", 0, MAX_MASK_PADDING);
        match (padding, original, mask) {
            (Some(padding), Some(original), Some(mask)) => {
                let image = &original.image;
                if (image.width(), image.height()) != (mask.width(), mask.height()) {
                    let msg = "Input should come with a mask of the size of image";
                    self.wrong("padding_mask_crop", "mask_size", msg, &padding.into());
                }
            }
            (Some(padding), ..) => {
                let msg = "Input should come with an image and a mask";
                self.wrong("padding_mask_crop", "missing_mask", msg, &padding.into());
            }
            (None, ..) => {}
        }
        let hires = self.hires(steps, size, most);
        if let Some(hires) = hires.filter(|_| original.is_some() || denoising_end.is_some()) {
            let msg = "Input should come without an image and without denoising_end";
            self.wrong("hires", "unexpected_image", msg, &json!(hires));
        }
        let padding_mask_crop = padding.map(|padding| padding as u32);
        Parts { denoising_end, aesthetic_score, negative_aesthetic_score, padding_mask_crop, hires }
    }

    fn hires(&mut self, steps: u32, size: Size, most: u64) -> Option<Hires> {
        let field = "hires";
        let at = vec![Loc::Name(field.to_owned())];
        let members = match self.take(field)? {
            Value::Object(members) => members,
            other => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                self.errors.push(FieldError::within_body(at, "model_attributes_type", msg, &other));
                return None;
            }
        };
        let mut fields = Fields::at(at, members);
        let scale = fields.float("scale", Least::From(1.0), MAX_HIRES_SCALE);
        let strength = fields.float("strength", Least::Above(0.0), MAX_STRENGTH);
        let steps = fields.integer("steps", 1, super::bounds::MAX_STEPS).map_or(steps, |steps| steps as u32);
        // The default never leaves a pass without a step.
        let strength = strength.unwrap_or_else(|| STRENGTH.max(f64::from(steps).recip()));
        let hires = Hires { scale: scale.unwrap_or(HIRES_SCALE), strength, steps };
        if Original::steps(strength, steps) == 0 {
            let msg = "Leaves no step: steps times strength should be at least 1";
            fields.wrong("strength", "too_few_steps", msg, &strength.into());
        }
        let larger = hires.size_of(size);
        let side = larger.width.max(larger.height);
        if (larger.pixels() > most || side > *SIDE.end())
            && fields.errors.is_empty()
            && self.errors.is_empty()
        {
            let Size { width, height } = larger;
            let msg = format!(
                "A picture should have at most {most} pixels and {} a side, {width}x{height} has {}",
                SIDE.end(),
                larger.pixels()
            );
            fields.out_of_bounds("scale", "less_than_equal", msg, &hires.scale.into(), json!({ "le": most }));
        }
        // Also on fal's routes, where fal has no such field.
        fields.refuse_rest();
        self.errors.append(&mut fields.errors);
        Some(hires)
    }
}
