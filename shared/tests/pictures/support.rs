//! Picture files, and requests with them.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::request::{
    Defaults, Dialect, Fetched, FieldError, ImageSpec, Names, Offer, PreviewSource, Unknown, parse_object,
};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;

pub(crate) const FORMATS: [(ImageFormat, &str); 3] =
    [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg"), (ImageFormat::WebP, "webp")];

pub(crate) const MOST: u64 = 1024 * 1024;

pub(crate) fn check_with(body: Value, names: Names, fetched: &Fetched) -> Result<ImageSpec, Vec<FieldError>> {
    let offer = Offer {
        native_width: 128,
        native_height: 96,
        max_pixels: MOST,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let unknown = if names == Names::Own { Unknown::Refused } else { Unknown::Ignored };
    let defaults = Defaults { unknown, preview_source: PreviewSource::Latents };
    let dialect = Dialect { defaults, names };
    ImageSpec::check_with(parse_object(body.to_string().as_bytes())?, &offer, dialect, fetched)
}

pub(crate) fn check(body: Value) -> Result<ImageSpec, Vec<FieldError>> {
    check_with(body, Names::Own, &Fetched::default())
}

/// The errors of a request, by field and kind.
pub(crate) fn wrong(body: Value, names: Names) -> Vec<(String, &'static str)> {
    let errors = check_with(body, names, &Fetched::default()).unwrap_err();
    errors.iter().map(|error| (error.field(), error.kind)).collect()
}

/// A picture without two equal rows, so that it does not compress well.
pub(crate) fn file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (x * y) as u8]);
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_fn(width, height, pixel)).write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub(crate) fn uri(name: &str, file: &[u8]) -> String {
    format!("data:image/{name};base64,{}", STANDARD.encode(file))
}

pub(crate) fn png(width: u32, height: u32) -> String {
    uri("png", &file(width, height, ImageFormat::Png))
}

/// A JPEG with Exif that rotates it by 90 degrees.
pub(crate) fn rotated_jpeg(width: u32, height: u32) -> Vec<u8> {
    // A segment APP1 with an Exif block of one entry: orientation 6.
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let segment = [&b"Exif\0\0"[..], tiff].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    let jpeg = file(width, height, ImageFormat::Jpeg);
    [&jpeg[..2], b"\xff\xe1", &length, &segment, &jpeg[2..]].concat()
}

/// The beginning of a PNG whose header states this size.
pub(crate) fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut png = file(8, 8, ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
