//! Input pictures: decoding uses no more memory than the size in the header allows.

use std::{fmt::Debug, io::Cursor};

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::request::{
    Defaults, Dialect, ImageSpec, InputImage, MAX_INPUT_IMAGE_BYTES, Names, Offer, PreviewSource, Task,
    Unknown, parse_object,
};
use glimpse_test_support::fuzz::{
    self, damages,
    pictures::{broken, of_size, turned},
};
use image::{DynamicImage, ImageFormat};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

/// Buffers that do not depend on the picture. The largest is a part of a lossy WebP, whose length has 24 bits.
const BASE: usize = 20 << 20;
/// Bytes for each pixel: four 16-bit channels twice, during a rotation.
const PER_PIXEL: usize = 17;
/// The maximum of pixels of a picture.
const PIXELS: usize = 16_777_216;

/// The first bytes of files.
const HEADS: [&[u8]; 4] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0"];

fn most(file: usize, pixels: usize) -> usize {
    BASE + 4 * file + PER_PIXEL * pixels
}

/// Reads and decodes a file, within the memory for the size in its header.
fn look(case: &impl Debug, file: Vec<u8>) -> Result<(), TestCaseError> {
    let length = file.len();
    let Ok(image) = fuzz::within(case, most(length, 0), || InputImage::new(file.into())) else {
        return Ok(());
    };
    let pixels = image.width() as usize * image.height() as usize;
    prop_assert!((1..=PIXELS).contains(&pixels), "{image:?}");
    let size = |image: DynamicImage| (image.width(), image.height());
    if let Ok(size) = fuzz::within(case, most(length, pixels), || image.decode().map(size)) {
        prop_assert_eq!(size, (image.width(), image.height()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(fuzz::cases(2000))]

    #[test]
    fn a_broken_picture_is_read_or_rejected(case in broken()) {
        look(&case, case.file().1)?;
    }

    #[test]
    fn a_broken_data_uri_is_read_or_rejected(
        case in broken(),
        header in prop_oneof![4 => Just(None), 1 => "[dD]ata:.{0,20},|.{0,20}".prop_map(Some)],
        damages in prop_oneof![Just(Vec::new()), damages()],
        fal: bool,
    ) {
        let (name, file) = case.file();
        let mut text = header.unwrap_or_else(|| format!("data:image/{name};base64,")).into_bytes();
        text.extend(STANDARD.encode(file).bytes());
        damages.iter().for_each(|damage| damage.apply(&mut text));
        let text = String::from_utf8_lossy(&text);
        let length = text.len();
        let picture = if fal { "image_url" } else { "image" };
        let body = json!({ "prompt": "x", picture: text, "mask": text }).to_string();
        let offer =
            Offer { native_width: 64, native_height: 64, max_pixels: 1 << 20, schedulers: Default::default(), lora_sources: Default::default(), controlnet_hub: false };
        let defaults = Defaults { unknown: Unknown::Ignored, preview_source: PreviewSource::Latents };
        let dialect = Dialect { defaults, names: if fal { Names::Fal(Task::Any) } else { Names::Own } };
        let checked = fuzz::within(&text, most(4 * length, PIXELS), || {
            let checked = parse_object(body.as_bytes()).and_then(|body| ImageSpec::check(body, &offer, dialect));
            checked.map(|spec| serde_json::to_string(&spec).unwrap())
        });
        match checked {
            // A checked picture survives a round trip through the store.
            Ok(stored) => prop_assert!(serde_json::from_str::<ImageSpec>(&stored).is_ok()),
            Err(errors) => prop_assert!(serde_json::to_string(&errors).unwrap().len() < 10_000),
        }
    }

    #[test]
    fn a_picture_is_the_same_however_its_uri_is_written(case in broken(), writing in 0..WRITINGS) {
        let (_, file) = case.file();
        let text = written(writing, &file);
        let most = most(file.len(), 0);
        let read = fuzz::within(&(&case, writing), most, || InputImage::from_data_uri(&text));
        let file = InputImage::new(file.into());
        prop_assert!(read == file || (read.is_err() && file.is_err()), "{:?} {:?}", read, file);
    }

    #[test]
    fn any_text_is_a_picture_or_none(text in "data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]{0,200}|.{0,40}") {
        let _ = fuzz::within(&text, BASE, || InputImage::from_data_uri(&text).map(drop));
    }

    #[test]
    fn any_bytes_are_a_picture_or_none(
        head in prop::sample::select(&HEADS[..]),
        bytes in vec(any::<u8>(), 0..300),
    ) {
        look(&bytes, [head, &bytes].concat())?;
    }
}

/// The number of ways to write a data URI.
const WRITINGS: usize = 5;

fn written(writing: usize, file: &[u8]) -> String {
    let base64 = || STANDARD.encode(file);
    let (head, data) = match writing {
        0 => ("data:;base64,", base64()),
        1 => (
            "data:image/png;base64,",
            base64()
                .as_bytes()
                .chunks(76)
                .flat_map(|line| [line, b"\r\n"].concat())
                .map(char::from)
                .collect(),
        ),
        2 => (
            "data:application/octet-stream;base64,",
            base64().bytes().map(|byte| format!("%{byte:02X}")).collect(),
        ),
        3 => ("data:base64,", base64().replace('+', "-").replace('/', "_")),
        _ => ("data:image/jpg,", file.iter().map(|byte| format!("%{byte:02x}")).collect()),
    };
    [head, &data].concat()
}

#[test]
fn the_largest_file_stays_within_the_memory_limit() {
    fuzz::alone(the_largest_file);
}

/// Alone as a whole: its files would count for another test.
#[cfg(test)]
fn the_largest_file() {
    let picture = |format| {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(64, 64).write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let png = picture(ImageFormat::Png);
    let jpeg = picture(ImageFormat::Jpeg);
    // Without the end marker, which is then added.
    for mut file in [png, jpeg[..jpeg.len() - 2].to_vec()] {
        file.resize(MAX_INPUT_IMAGE_BYTES, 0);
        for writing in 0..WRITINGS {
            let text = written(writing, &file);
            fuzz::within(&writing, most(file.len(), 0), || {
                assert!(InputImage::from_data_uri(&text).is_ok(), "writing {writing}");
            });
        }
    }
}

#[test]
fn the_largest_sizes_stay_within_the_memory_limit() {
    fuzz::alone(the_largest_sizes);
}

#[cfg(test)]
fn the_largest_sizes() {
    for file in of_size(8192, 2048) {
        look(&"of the largest size", file).unwrap();
    }
    let mut whole = Cursor::new(Vec::new());
    DynamicImage::new_rgba16(1024, 512).write_to(&mut whole, ImageFormat::Png).unwrap();
    look(&"to be turned", turned(whole.get_ref())).unwrap();
    for (width, height) in [(65_535, 65_535), (16_383, 16_383), (8193, 1), (u32::MAX, u32::MAX)] {
        for file in of_size(width, height) {
            let length = file.len();
            fuzz::within(&"too large", most(length, 0), || assert!(InputImage::new(file.into()).is_err()));
        }
    }
    let file = vec![0; MAX_INPUT_IMAGE_BYTES + 1];
    fuzz::within(&"too many bytes", most(0, 0), || assert!(InputImage::new(file.into()).is_err()));
}
