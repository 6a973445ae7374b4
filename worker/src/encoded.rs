//! Encoded pictures.

use bytes::Bytes;
use glimpse_shared::{event::Image, recipe::Metadata, request::OutputFormat};

use crate::pipeline::Rgb;

/// What begins the segment of a JPEG with XMP.
const XMP_SEGMENT: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// The chunk of a PNG with XMP.
const XMP_CHUNK: &str = "XML:com.adobe.xmp";
/// The chunk of a PNG with the text that other programs read.
const PARAMETERS_CHUNK: &str = "parameters";

/// An encoded picture.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Its format.
    pub format: OutputFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file's content.
    pub bytes: Bytes,
}

impl Encoded {
    /// Encodes a picture as JPEG of the given quality (1 to 100), PNG or lossless WebP. `metadata` is what the file
    /// carries besides; the pixels are the same with and without it.
    ///
    /// # Errors
    /// If a side is too long for the format.
    pub fn new(
        picture: &Rgb,
        format: OutputFormat,
        quality: u8,
        metadata: Option<&Metadata>,
    ) -> Result<Self, EncodeError> {
        let mut out = Vec::new();
        match format {
            OutputFormat::Jpeg => jpeg(picture, quality, metadata, &mut out)?,
            OutputFormat::Png => png(picture, metadata, &mut out).map_err(EncodeError::new)?,
            OutputFormat::Webp => webp(picture, metadata, &mut out).map_err(EncodeError::new)?,
        }
        Ok(Self { format, width: picture.width, height: picture.height, bytes: out.into() })
    }

    /// The picture inside an event.
    pub fn image(&self) -> Image {
        Image::new(self.format.content_type(), self.width, self.height, &self.bytes)
    }
}

fn jpeg(
    picture: &Rgb,
    quality: u8,
    metadata: Option<&Metadata>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let Rgb { width, height, data } = picture;
    let sides = u16::try_from(*width).and_then(|w| Ok((w, u16::try_from(*height)?)));
    let (width, height) = sides.map_err(EncodeError::new)?;
    let mut encoder = jpeg_encoder::Encoder::new(out, quality);
    if let Some(exif) = metadata.and_then(Metadata::exif) {
        encoder.add_exif_metadata(exif).map_err(EncodeError::new)?;
    }
    if let Some(xmp) = metadata.and_then(Metadata::xmp) {
        encoder.add_app_segment(1, [XMP_SEGMENT, xmp.as_bytes()].concat()).map_err(EncodeError::new)?;
    }
    encoder.encode(data, width, height, jpeg_encoder::ColorType::Rgb).map_err(EncodeError::new)
}

fn png(picture: &Rgb, metadata: Option<&Metadata>, out: &mut Vec<u8>) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(out, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    if let Some(text) = metadata.and_then(Metadata::parameters) {
        // As other programs write it: Latin-1 where that is enough.
        let is_latin = text.chars().all(|letter| u8::try_from(u32::from(letter)).is_ok());
        let (keyword, text) = (PARAMETERS_CHUNK.to_owned(), text.to_owned());
        match is_latin {
            true => encoder.add_text_chunk(keyword, text)?,
            false => encoder.add_itxt_chunk(keyword, text)?,
        }
    }
    if let Some(xmp) = metadata.and_then(Metadata::xmp) {
        encoder.add_itxt_chunk(XMP_CHUNK.to_owned(), xmp.to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.data)?;
    writer.finish()
}

fn webp(
    picture: &Rgb,
    metadata: Option<&Metadata>,
    out: &mut Vec<u8>,
) -> Result<(), image_webp::EncodingError> {
    let mut encoder = image_webp::WebPEncoder::new(out);
    if let Some(exif) = metadata.and_then(Metadata::exif) {
        encoder.set_exif_metadata(exif.to_vec());
    }
    if let Some(xmp) = metadata.and_then(Metadata::xmp) {
        encoder.set_xmp_metadata(xmp.as_bytes().to_vec());
    }
    encoder.encode(&picture.data, picture.width, picture.height, image_webp::ColorType::Rgb8)
}

/// A picture that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("encoding the picture failed: {0}")]
pub struct EncodeError(String);

impl EncodeError {
    /// Why it could not be encoded.
    pub(crate) fn new(cause: impl ToString) -> Self {
        Self(cause.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use glimpse_shared::{
        recipe::{LoraRecipe, ModelRecipe, Recipe},
        request::{Defaults, ImageSpec, InputPictures, Offer, PreviewSource, Unknown},
    };
    use serde_json::{Value, json};

    use super::*;

    fn recipe(prompt: &str) -> Recipe {
        let offer = Offer {
            native_width: 64,
            native_height: 64,
            max_pixels: 1 << 20,
            schedulers: BTreeSet::from(["EulerDiscreteScheduler".to_owned()]),
            lora_sources: BTreeSet::new(),
            controlnet_hub: false,
        };
        let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Denoised };
        let body = json!({ "prompt": prompt, "seed": 7, "num_images": 2, "scheduler": "Euler", "loras": [{ "path": "ink" }] });
        let Value::Object(body) = body else { panic!("an object") };
        let spec = ImageSpec::check(body, &offer, defaults).unwrap();
        let sha256 = Some("0123456789abcdef".repeat(4));
        let lora =
            LoraRecipe { path: "ink".to_owned(), sha256: "f".repeat(64), autov3: Some("e".repeat(12)) };
        Recipe {
            index: Some(1),
            model: Some(ModelRecipe { name: "a model, 2".to_owned(), sha256 }),
            loras: vec![lora],
            ..Recipe::of(Some("glimpse/demo".parse().unwrap()), &spec, InputPictures::Digests)
        }
    }

    fn picture() -> Rgb {
        Rgb { width: 24, height: 16, data: (0..24 * 16 * 3).map(|i: u32| (i * 7 % 251) as u8).collect() }
    }

    #[test]
    fn a_file_carries_its_recipe_and_the_same_pixels() {
        let prompts = ["a café,\n<b> \"x\": \u{1}\u{ffff}", "狐 🦊 & ü"];
        for prompt in prompts {
            let recipe = recipe(prompt);
            let metadata = Metadata::of(&recipe);
            assert!(!metadata.is_cut());
            for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp] {
                let encode = |metadata| Encoded::new(&picture(), format, 95, metadata).unwrap().bytes;
                let (bare, whole) = (encode(None), encode(Some(&metadata)));
                let pixels = |file: &Bytes| image::load_from_memory(file).unwrap().into_rgb8();
                assert_eq!(pixels(&bare), pixels(&whole), "{format:?}");
                let more = whole.len() - bare.len();
                assert!(more < 3000, "{format:?}: {more} bytes more");
                let found = Recipe::from_picture(whole).unwrap();
                assert_eq!((&found.recipe, found.unknown.len()), (&recipe, 0), "{format:?}");
                assert!(Recipe::from_picture(bare).is_err());
            }
        }
    }

    #[test]
    fn the_text_for_other_programs_is_read_too() {
        let metadata = Metadata::of(&recipe("狐"));
        for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp] {
            let bytes = Encoded::new(&picture(), format, 95, Some(&metadata)).unwrap().bytes;
            // As a program that does not know our namespace writes it.
            let from = b"urn:glimpse:recipe:1#";
            let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
            let mut other = bytes.to_vec();
            other[at] = b'x';
            // The chunk of a PNG has a checksum.
            if format == OutputFormat::Png {
                let start = other.windows(4).rposition(|part| part == b"iTXt").unwrap();
                let length = u32::from_be_bytes(other[start - 4..start].try_into().unwrap()) as usize;
                let end = start + 4 + length;
                let mut sum = flate2::Crc::new();
                sum.update(&other[start..end]);
                other[end..end + 4].copy_from_slice(&sum.sum().to_be_bytes());
            }
            let found = Recipe::from_picture(other.into()).unwrap();
            let request = &found.recipe.request;
            assert_eq!((&request["prompt"], &request["seed"]), (&json!("狐"), &json!(7)), "{format:?}");
            assert_eq!(request["scheduler"], "Euler");
            assert_eq!(found.recipe.model.unwrap().name, "a model, 2");
            assert_eq!(found.unknown, ["Batch size", "Batch pos"]);
        }
    }

    #[test]
    fn a_recipe_that_is_too_long_is_left_out() {
        let mut long = recipe(&"狐".repeat(10_000));
        assert!(!Metadata::of(&long).is_cut());
        for field in ["prompt", "negative_prompt"] {
            long.request.insert(field.to_owned(), "🦊".repeat(10_000).into());
        }
        let metadata = Metadata::of(&long);
        assert!(metadata.is_cut() && metadata.xmp().is_none() && metadata.exif().is_none());
        for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp] {
            assert!(Encoded::new(&picture(), format, 95, Some(&metadata)).is_ok(), "{format:?}");
        }
    }
}
