//! Valid and invalid files of input pictures.

use glimpse_shared::request::{ImageSpec, InputFormat, InputImage, InputImageError, Names};
use image::ImageFormat;
use serde_json::json;

use crate::support::{FORMATS, check, file, png, png_of_size, uri, wrong};

#[test]
fn a_picture_of_each_format_round_trips_through_the_store() {
    for (format, name) in FORMATS {
        let file = file(72, 64, format);
        let body = json!({ "prompt": "x", "image": uri(name, &file), "mask": png(5, 5), "strength": 1 });
        let spec = check(body).unwrap();
        let image = spec.image().unwrap();
        assert_eq!(
            (image.format().content_type(), &image.bytes()[..]),
            (&*format!("image/{name}"), &file[..])
        );
        assert_eq!((image.width(), image.height(), spec.width(), spec.height()), (72, 64, 72, 64));
        assert_eq!(spec.mask().map(|mask| (mask.width(), mask.format())), Some((5, InputFormat::Png)));
        assert_eq!((spec.strength(), spec.steps_to_take()), (1.0, 20));
        assert_eq!(image.decode().unwrap().width(), 72);

        let stored = serde_json::to_string(&spec).unwrap();
        assert!(stored.contains(&uri(name, &file)));
        assert_eq!(serde_json::from_str::<ImageSpec>(&stored).unwrap(), spec);
        let shown = format!("{spec:?}");
        assert!(shown.len() < 1_000, "Debug shows the bytes: {shown}");
    }
}

#[test]
fn a_png_without_its_end_chunk_is_read() {
    let whole = file(96, 96, ImageFormat::Png);
    let pixels = InputImage::new(whole.clone().into()).unwrap().decode().unwrap();
    for missing in 1..=12 {
        let cut = whole[..whole.len() - missing].to_vec();
        let image = InputImage::new(cut.into()).unwrap();
        assert_eq!(&image.bytes()[..], &whole[..], "without its last {missing} bytes");
        assert!(image.decode().unwrap() == pixels);
    }
    // A whole chunk of pixels is missing.
    let data = whole.windows(4).position(|name| name == b"IDAT").unwrap() - 4;
    assert_eq!(InputImage::new(whole[..data].to_vec().into()).err(), Some(InputImageError::Broken));
}

#[test]
fn a_truncated_picture_is_rejected() {
    for (format, name) in FORMATS {
        let whole = file(96, 96, format);
        // The last bytes of a file do not change its pixels.
        let end = if format == ImageFormat::Jpeg { 3 } else { 20 };
        for at in (0..whole.len() - end).step_by(whole.len() / 60).chain([whole.len() - end]) {
            let body = json!({ "prompt": "x", "image": uri(name, &whole[..at]) });
            let errors = check(body).expect_err(&format!("{name} of {} bytes, cut at {at}", whole.len()));
            assert_eq!((errors.len(), errors[0].field()), (1, "image".to_owned()));
        }
        let longer = [&whole[..], b"\xff\xda film"].concat();
        assert_eq!(
            check(json!({ "prompt": "x", "image": uri(name, &longer) })).map(|_| ()),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn a_picture_with_a_huge_size_is_not_decoded() {
    for (width, height) in [(100_000, 100_000), (8193, 1), (1, 8193), (8192, 2049), (i32::MAX as u32, 1)] {
        let image = uri("png", &png_of_size(width, height));
        let field = |field: &str| vec![(field.to_owned(), "image_too_large")];
        assert_eq!(wrong(json!({ "prompt": "x", "image": image }), Names::Own), field("image"));
        let body = json!({ "prompt": "x", "image": png(64, 64), "mask": image });
        assert_eq!(wrong(body, Names::Own), field("mask"), "{width}x{height}");
    }
    // These sizes are valid, and only the pixels are missing.
    for (width, height) in [(8192, 2048), (8192, 1), (4096, 4096)] {
        let image = uri("png", &png_of_size(width, height));
        let wrong = wrong(json!({ "prompt": "x", "image": image }), Names::Own);
        assert_eq!(wrong, [("image".to_owned(), "image_load_error")], "{width}x{height}");
    }
}

#[test]
fn a_file_has_at_most_12_mib() {
    let mut largest = file(64, 64, ImageFormat::Png);
    largest.resize(12 << 20, 0);
    assert!(check(json!({ "prompt": "x", "image": uri("png", &largest) })).is_ok());
    for more in [1, 2, 3, 1 << 20] {
        largest.resize((12 << 20) + more, 0);
        let image = uri("png", &largest);
        let errors = check(json!({ "prompt": "x", "image": image })).unwrap_err();
        assert_eq!(
            (errors[0].kind, &errors[0].ctx),
            ("file_too_large", &Some(json!({ "max_size": 12 << 20 })))
        );
        assert!(serde_json::to_string(&errors).unwrap().len() < 1_000, "the picture is not sent back");
    }
}

/// A WebP of 16 x 16 pixels with an extended header and these chunks.
fn webp_with(chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
    let mut body = b"WEBPVP8X\x0a\0\0\0\x08\0\0\0\x0f\0\0\x0f\0\0".to_vec();
    for (kind, length, data) in chunks {
        body.extend([&kind[..], &length.to_le_bytes(), data].concat());
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

#[test]
fn a_webp_with_wrong_chunk_sizes_is_rejected() {
    let simple = file(16, 16, ImageFormat::WebP);
    let bits = &simple[20..];
    let (length, exif) = (bits.len() as u32, &b"MM\0\x2a\0\0\0\x08\0\0\0\0\0\0"[..]);
    let honest = webp_with(&[(b"VP8L", length, bits), (b"EXIF", 14, exif)]);
    assert!(InputImage::new(honest.into()).and_then(|image| image.decode()).is_ok());
    let frame = |inner: &[u8]| [&[0; 6][..], b"\x0f\0\0\x0f\0\0\x01\0\0\0", inner].concat();
    // Nearly 4 GiB of Exif, and an animation with a picture of 16,383 pixels width.
    let huge = b"\x30\x01\0\x9d\x01\x2a\xff\x3f\xff\x3f\0\0";
    let within = frame(&[&b"EXIF\xf0\xff\xff\xff"[..], &[0; 16]].concat());
    let film = frame(&[&b"VP8 \x0c\0\0\0"[..], huge].concat());
    for inconsistent in [
        webp_with(&[(b"VP8L", length, bits), (b"EXIF", u32::MAX - 15, exif)]),
        webp_with(&[(b"VP8L", length, bits), (b"ANMF", within.len() as u32, &within)]),
        webp_with(&[(b"EXIF", 14, exif), (b"VP8 ", 12, huge)]),
        webp_with(&[(b"EXIF", 14, exif), (b"VP8L", length, bits), (b"ANMF", film.len() as u32, &film)]),
    ] {
        assert_eq!(InputImage::new(inconsistent.into()), Err(InputImageError::Broken));
    }
}
