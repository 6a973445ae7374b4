//! The fields that OpenAI has for pictures beside those that have our names.

use serde_json::{Value, json};

use super::{
    bounds::MAX_IMAGES,
    fields::Fields,
    output::OutputFormat,
    partials::Partials,
    size::{GRID, SIDE, Size},
    wire_fields::{NamedSize, WireFields},
};

/// The largest `output_compression`, which means no loss.
pub const MAX_COMPRESSION: u64 = 100;

impl Fields {
    /// Reads OpenAI's own fields.
    pub(super) fn openai(&mut self) -> WireFields {
        let size = self.take_beside("size", &["width", "height"]).and_then(|sent| {
            let size = self.openai_size(&sent)?;
            Some(NamedSize { size, field: "size", sent })
        });
        let num_images = self.take_beside("n", &["num_images"]).and_then(|value| {
            self.body.insert("n".to_owned(), value);
            self.integer("n", 1, MAX_IMAGES)
        });
        // The pictures have no alpha channel.
        self.one_of("background", &[("opaque", ()), ("auto", ())]);
        let streams = self.boolean("stream").unwrap_or(false);
        let partials = self.integer("partial_images", 0, Partials::MOST.into()).unwrap_or(0) as u32;
        WireFields {
            size,
            num_images,
            format: Some(OutputFormat::Png),
            data_uris: false,
            jpeg_quality: self.openai_quality(),
            // The clients of this wire see only partial pictures.
            preview_every: Some(0),
            partials: if streams { Partials(partials) } else { Partials::default() },
            warnings: Vec::new(),
        }
    }

    /// `WIDTHxHEIGHT` or `auto`.
    fn openai_size(&mut self, value: &Value) -> Option<Size> {
        let field = "size";
        let text = value.as_str().unwrap_or_default();
        if text == "auto" {
            return None;
        }
        let sides = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
        let Some((width, height)) = sides else {
            self.wrong(field, "one_of", "Input should be WIDTHxHEIGHT in pixels, or auto", value);
            return None;
        };
        if [width, height].iter().any(|side| !SIDE.contains(side) || !side.is_multiple_of(GRID)) {
            let (least, most) = (SIDE.start(), SIDE.end());
            let msg = format!("Width and height should be multiples of {GRID}, from {least} to {most}");
            let ctx = json!({ "multiple_of": GRID, "ge": least, "le": most });
            self.out_of_bounds(field, "multiple_of", msg, value, ctx);
            return None;
        }
        Some(Size { width, height })
    }

    /// `output_compression`. A PNG has no quality, and our WebP is lossless, so it counts for JPEG alone.
    fn openai_quality(&mut self) -> Option<u8> {
        let field = "output_compression";
        let quality = self.integer(field, 0, MAX_COMPRESSION)?;
        let (is_png, is_jpeg) = {
            let format = self.body.get("output_format").and_then(Value::as_str).unwrap_or("png");
            (format == "png", format == "jpeg")
        };
        if is_png && quality < MAX_COMPRESSION {
            let msg = "A PNG is not compressed with loss: leave it out, or ask for output_format jpeg";
            self.wrong(field, "feature_not_supported", msg, &quality.into());
        }
        is_jpeg.then(|| (quality as u8).max(1))
    }
}

/// Digits alone: a number of pixels.
fn side(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
