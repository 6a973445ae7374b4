//! The pictures of a request: the input picture and its mask.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    alpha::Alpha,
    dialect::{Names, Task},
    fields::{Fields, Least},
    input_image::{InputImage, InputImageError, MAX_INPUT_IMAGE_BYTES},
};

/// The default share of the steps, as in diffusers for SDXL: without a mask the whole picture changes a little, with a
/// mask the masked part is repainted.
pub const STRENGTH: f64 = 0.3;
/// The same for a request with a mask.
pub const STRENGTH_OF_MASK: f64 = 0.9999;
/// The largest share of the steps.
pub const MAX_STRENGTH: f64 = 1.0;

/// In the place of a mask: the alpha channel of the image.
pub const ALPHA: &str = "alpha";

/// The field of a picture, and fal's name for it.
pub(super) const IMAGE: (&str, &str) = ("image", "image_url");
/// Each field of a picture, and fal's name for it.
const FIELDS: [(&str, &str); 2] = [IMAGE, ("mask", "mask_url")];

/// The picture inputs of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) image: InputImage,
    /// White is repainted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mask: Option<InputImage>,
    pub(super) strength: f64,
}

impl Original {
    /// How many of the given steps are run.
    pub(super) fn steps(strength: f64, of: u32) -> u32 {
        (f64::from(of) * strength) as u32
    }
}

/// The source of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSource<'a> {
    /// In the request.
    Inline,
    /// An http or https URL.
    Url(&'a str),
}

/// The sources of a request's pictures, unchecked. The caller fetches URLs before the check.
pub fn picture_sources(body: &Map<String, Value>, names: Names) -> Vec<PictureSource<'_>> {
    let values = FIELDS.iter().filter_map(|field| given(body, *field, names));
    let entries = body.get("controlnets").and_then(Value::as_array).into_iter().flatten();
    let controls = entries.filter_map(Value::as_object).filter_map(|entry| given(entry, IMAGE, names));
    let values = values.chain(controls);
    let texts = values.filter_map(Value::as_str);
    texts.map(|text| if is_url(text) { PictureSource::Url(text) } else { PictureSource::Inline }).collect()
}

/// A field by our name or by fal's. If both are given, ours counts.
fn given<'a>(members: &'a Map<String, Value>, (own, fal): (&str, &str), names: Names) -> Option<&'a Value> {
    let given = |name: &str| members.get(name).filter(|value| !value.is_null());
    given(own).or_else(|| names.are_fal().then(|| given(fal)).flatten())
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))
}

/// The fetched pictures by their URLs. A URL that is not here was not fetched, because the server fetches no pictures.
#[derive(Debug, Clone, Default)]
pub struct Fetched(BTreeMap<String, Result<Bytes, NotFetched>>);

impl FromIterator<(String, Result<Bytes, NotFetched>)> for Fetched {
    fn from_iter<I: IntoIterator<Item = (String, Result<Bytes, NotFetched>)>>(found: I) -> Self {
        Self(found.into_iter().collect())
    }
}

/// Why a URL could not be fetched, without details: a client must not learn what is at a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The operator does not allow it.
    #[error("The address is not allowed")]
    Forbidden,
    /// The file is too large.
    #[error("A picture should have at most {MAX_INPUT_IMAGE_BYTES} bytes")]
    TooManyBytes,
    /// Anything else.
    #[error("The picture could not be fetched")]
    Failed,
}

impl Fields {
    /// Reads `image`, `mask` and `strength`. `steps` is `num_inference_steps`.
    pub(super) fn original(&mut self, steps: u32, names: Names, fetched: &Fetched) -> Option<Original> {
        let [image, mask] = FIELDS.map(|field| self.either(field, names));
        let strength_given = self.body.get("strength").cloned().filter(|value| !value.is_null());
        let strength = self.float("strength", Least::Above(0.0), MAX_STRENGTH);
        if image.is_none() && matches!(names.task(), Some(Task::ImageToImage | Task::Inpainting)) {
            self.missing("image_url");
        }
        if mask.is_none() && names.task() == Some(Task::Inpainting) {
            self.missing("mask_url");
        }
        if image.is_none() && names.are_of_edits() {
            self.missing("image");
            return None;
        }
        let Some(image) = image else {
            if names.task().is_some_and(|task| task != Task::Any) {
                return None;
            }
            for (field, value) in mask.into_iter().chain(strength_given.map(|value| ("strength", value))) {
                self.wrong(field, "missing_image", "Input should come with an image", &value);
            }
            return None;
        };
        let by_alpha = names.are_of_edits();
        let of_image = mask.as_ref().filter(|(_, value)| *value == ALPHA).map(|(field, _)| *field);
        let mask = mask.filter(|_| of_image.is_none());
        // Both pictures are checked before a return, so that both errors are reported.
        let image = self.picture(image, fetched, by_alpha || of_image.is_some());
        let mask = mask.map(|mask| self.picture(mask, fetched, by_alpha));
        let holes = image.as_ref().and_then(|(_, alpha)| alpha.as_ref()).is_some_and(|alpha| alpha.has_holes);
        let default = if mask.is_some() || of_image.is_some() || holes { STRENGTH_OF_MASK } else { STRENGTH };
        let default = names.task().and_then(Task::strength).unwrap_or(default);
        // The default never leaves a request without a step. A strength that the client chose is not changed.
        let strength = strength.unwrap_or_else(|| default.max(f64::from(steps).recip()));
        if Original::steps(strength, steps) == 0 {
            let msg = "Leaves no step: num_inference_steps times strength should be at least 1";
            self.wrong("strength", "too_few_steps", msg, &strength.into());
        }
        let (image, own_alpha) = image?;
        let mask = match mask {
            Some(mask) if by_alpha => {
                let (_, alpha) = mask?;
                if alpha.is_none() {
                    let msg = "A mask should have an alpha channel: its transparent pixels are repainted";
                    self.wrong("mask", "missing_alpha", msg, &Value::Null);
                }
                Some(alpha?.mask)
            }
            Some(mask) => Some(mask?.0),
            None => match of_image {
                None => own_alpha.filter(|alpha| alpha.has_holes).map(|alpha| alpha.mask),
                Some(field) => {
                    if own_alpha.is_none() {
                        let msg = "The image has no alpha channel: its transparent pixels would be repainted";
                        self.wrong(field, "missing_alpha", msg, &ALPHA.into());
                    }
                    Some(own_alpha?.mask)
                }
            },
        };
        Some(Original { image, mask, strength })
    }

    /// Takes a field by our name or by fal's, and returns it with that name. If both are given, ours counts.
    pub(super) fn either(
        &mut self,
        (own, fal): (&'static str, &'static str),
        names: Names,
    ) -> Option<(&'static str, Value)> {
        let by_own = self.take(own).map(|value| (own, value));
        if !names.are_fal() {
            return by_own;
        }
        let by_fal = self.take(fal).map(|value| (fal, value));
        by_own.or(by_fal)
    }

    /// Reads a picture, and decodes it once to check it. Returns its alpha channel too, if `with_alpha`.
    pub(super) fn picture(
        &mut self,
        (field, value): (&'static str, Value),
        fetched: &Fetched,
        with_alpha: bool,
    ) -> Option<(InputImage, Option<Alpha>)> {
        let Value::String(text) = &value else {
            self.wrong(field, "string_type", "Input should be a valid string", &value);
            return None;
        };
        let found = if is_url(text) {
            match fetched.0.get(text) {
                Some(Ok(bytes)) => InputImage::new(bytes.clone()),
                Some(Err(NotFetched::TooManyBytes)) => Err(InputImageError::TooManyBytes),
                Some(Err(error)) => {
                    self.wrong(field, "file_download_error", error.to_string(), &value);
                    return None;
                }
                None => {
                    let msg = "This server fetches no pictures: input should be a data URI";
                    self.wrong(field, "feature_not_supported", msg, &value);
                    return None;
                }
            }
        } else {
            InputImage::from_data_uri(text)
        };
        let read = found.and_then(|image| {
            let pixels = image.decode()?;
            let alpha = if with_alpha { Alpha::of(&pixels)? } else { None };
            Ok((image, alpha))
        });
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                match error.ctx() {
                    Some(ctx) => self.out_of_bounds(field, error.kind(), error.to_string(), &value, ctx),
                    None => self.wrong(field, error.kind(), error.to_string(), &value),
                }
                None
            }
        }
    }
}
