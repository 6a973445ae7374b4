//! The pictures of a request, at the edges of their rules.

#![expect(clippy::unwrap_used, reason = "in a test that is how a failure looks")]

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use glimpse_shared::request::{
    Defaults, Fetched, FieldError, ImageSpec, InputFormat, InputImage, InputImageError, NotFetched, Offer,
    PictureSource, PreviewSource, Unknown, parse_object, picture_sources,
};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use serde_json::{Value, json};

const FORMATS: [(ImageFormat, &str); 3] =
    [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg"), (ImageFormat::WebP, "webp")];

const MOST: u64 = 1024 * 1024;

fn check_with(body: Value, unknown: Unknown, fetched: &Fetched) -> Result<ImageSpec, Vec<FieldError>> {
    let offer =
        Offer { native_width: 128, native_height: 96, max_pixels: MOST, schedulers: Default::default() };
    let defaults = Defaults { unknown, preview_source: PreviewSource::Latents };
    ImageSpec::check_with(parse_object(body.to_string().as_bytes())?, &offer, defaults, fetched)
}

fn check(body: Value) -> Result<ImageSpec, Vec<FieldError>> {
    check_with(body, Unknown::Refused, &Fetched::default())
}

/// What is wrong with a request, by field and kind.
fn wrong(body: Value, unknown: Unknown) -> Vec<(String, &'static str)> {
    let errors = check_with(body, unknown, &Fetched::default()).unwrap_err();
    errors.iter().map(|error| (error.field(), error.kind)).collect()
}

/// A picture without two equal rows, so that it takes some bytes.
fn file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (x * y) as u8]);
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_fn(width, height, pixel)).write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn uri(name: &str, file: &[u8]) -> String {
    format!("data:image/{name};base64,{}", STANDARD.encode(file))
}

fn png(width: u32, height: u32) -> String {
    uri("png", &file(width, height, ImageFormat::Png))
}

/// A JPEG that is to be turned by 90 degrees.
fn lying_jpeg(width: u32, height: u32) -> Vec<u8> {
    // A segment APP1 with an Exif block of one entry: orientation 6.
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let segment = [&b"Exif\0\0"[..], tiff].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    let jpeg = file(width, height, ImageFormat::Jpeg);
    [&jpeg[..2], b"\xff\xe1", &length, &segment, &jpeg[2..]].concat()
}

/// The beginning of a PNG that says to have so many pixels.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
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

#[test]
fn a_picture_comes_in_each_format_and_is_itself_again_in_the_store() {
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
        assert!(shown.len() < 1_000, "a picture's bytes are not for a log: {shown}");
    }
}

#[test]
fn without_a_picture_nothing_changes() {
    let spec = check(json!({ "prompt": "x", "image": null, "mask": null, "strength": null })).unwrap();
    assert_eq!((spec.image(), spec.mask(), spec.strength()), (None, None, 1.0));
    assert_eq!((spec.width(), spec.height(), spec.steps_to_take()), (128, 96, 20));
}

#[test]
fn the_header_of_a_data_uri_is_read_as_browsers_do() {
    let data = STANDARD.encode(file(64, 64, ImageFormat::Png));
    for header in [
        "data:image/png;base64",
        "DATA:IMAGE/PNG;BASE64",
        "data:image/png;charset=utf-8;base64",
        "data:image/png;name=a.jpeg;x;base64",
    ] {
        assert!(InputImage::from_data_uri(&format!("{header},{data}")).is_ok(), "{header}");
    }
    let unpadded = data.trim_end_matches('=');
    assert_ne!(unpadded, data, "the file's length is such that there is padding");
    assert!(InputImage::from_data_uri(&format!("data:image/png;base64,{unpadded}")).is_ok());

    for text in [
        String::new(),
        data.clone(),
        format!("data:image/png,{data}"),
        format!("data:image/png;base64;x,{data}"),
        format!("data:;base64,{data}"),
        format!("data:image/gif;base64,{data}"),
        format!("data:image/svg+xml;base64,{data}"),
        format!("data:text/plain;base64,{data}"),
        format!(" data:image/png;base64,{data}"),
        "file:///etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "ftp://example.com/a.png".to_owned(),
    ] {
        assert_eq!(InputImage::from_data_uri(&text), Err(InputImageError::Uri), "{text:.40}");
    }
    for data in [
        format!("{data}!"),
        format!("{}\n{}", &data[..8], &data[8..]),
        data.replacen('+', "-", 1).replacen('/', "_", 1),
        format!("{data}=="),
        "A".to_owned(),
        "=".to_owned(),
    ] {
        let found = InputImage::from_data_uri(&format!("data:image/png;base64,{data}"));
        assert_eq!(found, Err(InputImageError::Base64), "{data:.40}");
    }
}

#[test]
fn a_picture_is_what_its_header_says() {
    let jpeg = uri("png", &file(64, 64, ImageFormat::Jpeg));
    let errors = check(json!({ "prompt": "x", "image": jpeg })).unwrap_err();
    assert_eq!(errors[0].msg, "The data URI says image/png, the bytes are image/jpeg");
    for (bytes, kind) in [
        (&b""[..], "unsupported_image_format"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "unsupported_image_format"),
        (b"<svg/>", "unsupported_image_format"),
        (b"\x89PNG\r\n\x1a\n", "image_load_error"),
        (b"\xff\xd8\xff", "image_load_error"),
        (b"RIFF\x04\0\0\0WEBP", "image_load_error"),
    ] {
        let body = json!({ "prompt": "x", "image": uri("png", bytes) });
        assert_eq!(wrong(body, Unknown::Refused), [("image".to_owned(), kind)], "{bytes:?}");
    }
}

#[test]
fn a_cut_picture_is_refused_wherever_it_was_cut() {
    for (format, name) in FORMATS {
        let whole = file(96, 96, format);
        // What a PNG and a WebP end with says nothing about the pixels.
        let end = if format == ImageFormat::Jpeg { 1 } else { 20 };
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
fn a_picture_that_says_to_be_huge_is_never_decoded() {
    for (width, height) in [(100_000, 100_000), (8193, 1), (1, 8193), (8192, 2049), (i32::MAX as u32, 1)] {
        let image = uri("png", &png_of_size(width, height));
        let field = |field: &str| vec![(field.to_owned(), "image_too_large")];
        assert_eq!(wrong(json!({ "prompt": "x", "image": image }), Unknown::Refused), field("image"));
        let body = json!({ "prompt": "x", "image": png(64, 64), "mask": image });
        assert_eq!(wrong(body, Unknown::Refused), field("mask"), "{width}x{height}");
    }
    // These are in bounds, and so only their pixels are missing.
    for (width, height) in [(8192, 2048), (8192, 1), (4096, 4096)] {
        let image = uri("png", &png_of_size(width, height));
        let wrong = wrong(json!({ "prompt": "x", "image": image }), Unknown::Refused);
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

#[test]
fn the_size_follows_the_picture() {
    for ((width, height), made) in [
        ((512, 512), (512, 512)),
        ((519, 575), (512, 568)),
        ((64, 71), (64, 64)),
        // Too many pixels, and sides that are too long.
        ((1536, 1536), (1024, 1024)),
        ((2000, 1000), (1448, 720)),
        ((4096, 256), (2048, 128)),
        // Sides that are too short.
        ((32, 64), (64, 128)),
        ((63, 63), (64, 64)),
        ((1, 1), (64, 64)),
        // Shapes that no picture can have.
        ((8192, 8), (2048, 64)),
        ((8, 8192), (64, 2048)),
    ] {
        let spec = check(json!({ "prompt": "x", "image": png(width, height) })).unwrap();
        assert_eq!((spec.width(), spec.height()), made, "{width}x{height}");
    }
    for (members, made) in [
        (json!({ "width": 256 }), (256, 128)),
        (json!({ "height": 256 }), (512, 256)),
        (json!({ "width": 72 }), (72, 64)),
        (json!({ "height": 1024 }), (1024, 1024)),
        (json!({ "width": 256, "height": 256 }), (256, 256)),
    ] {
        let mut body = json!({ "prompt": "x", "image": png(400, 200) });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let spec = check(body).unwrap();
        assert_eq!((spec.width(), spec.height()), made, "{members}");
    }
    let lying = check(json!({ "prompt": "x", "image": uri("jpeg", &lying_jpeg(128, 64)) })).unwrap();
    assert_eq!((lying.width(), lying.height()), (64, 128), "a photograph stands upright");
    assert_eq!(lying.image().unwrap().decode().unwrap().width(), 64);
}

#[test]
fn strength_is_a_share_of_the_steps() {
    let of = |members: Value| {
        let mut body = json!({ "prompt": "x", "image": png(64, 64) });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    for (members, strength, steps) in [
        (json!({}), 0.3, 6),
        (json!({ "mask": png(64, 64) }), 0.9999, 19),
        (json!({ "mask": png(64, 64), "strength": 0.5 }), 0.5, 10),
        (json!({ "strength": 1 }), 1.0, 20),
        (json!({ "strength": 0.05 }), 0.05, 1),
        (json!({ "strength": 1, "num_inference_steps": 1 }), 1.0, 1),
        (json!({ "num_inference_steps": 4 }), 0.3, 1),
    ] {
        let spec = check(of(members.clone())).unwrap();
        assert_eq!((spec.strength(), spec.steps_to_take()), (strength, steps), "{members}");
    }
    for (members, kind) in [
        (json!({ "strength": 0 }), "greater_than"),
        (json!({ "strength": -0.5 }), "greater_than"),
        (json!({ "strength": 1.01 }), "less_than_equal"),
        (json!({ "strength": "1" }), "float_type"),
        (json!({ "strength": 0.04 }), "too_few_steps"),
        (json!({ "num_inference_steps": 3 }), "too_few_steps"),
        (json!({ "num_inference_steps": 1, "mask": png(64, 64) }), "too_few_steps"),
    ] {
        assert_eq!(
            wrong(of(members.clone()), Unknown::Refused),
            [("strength".to_owned(), kind)],
            "{members}"
        );
    }
}

#[test]
fn a_mask_and_a_strength_belong_to_a_picture() {
    for unknown in [Unknown::Refused, Unknown::Ignored] {
        let body = json!({ "prompt": "x", "mask": png(64, 64), "strength": 0.5 });
        let missing = |field: &str| (field.to_owned(), "missing_image");
        assert_eq!(wrong(body, unknown), [missing("mask"), missing("strength")]);
    }
    let body = json!({ "prompt": "x", "image": 7, "mask": ["a"] });
    let string = |field: &str| (field.to_owned(), "string_type");
    assert_eq!(wrong(body, Unknown::Refused), [string("image"), string("mask")]);
}

#[test]
fn fal_s_words_are_understood_on_fal_s_routes() {
    let nothing = Fetched::default();
    let body = json!({ "prompt": "x", "image_url": png(64, 72), "mask_url": png(8, 8) });
    let spec = check_with(body.clone(), Unknown::Ignored, &nothing).unwrap();
    assert_eq!((spec.height(), spec.mask().map(InputImage::width)), (72, Some(8)));
    let extra = |field: &str| (field.to_owned(), "extra_forbidden");
    assert_eq!(wrong(body, Unknown::Refused), [extra("image_url"), extra("mask_url")]);

    let body = json!({ "prompt": "x", "image": png(64, 64), "image_url": png(64, 64) });
    assert_eq!(wrong(body, Unknown::Ignored), [("image_url".to_owned(), "given_twice")]);
    let body = json!({ "prompt": "x", "image": null, "image_url": png(64, 64), "mask_url": "data:," });
    assert_eq!(wrong(body, Unknown::Ignored), [("mask_url".to_owned(), "image_load_error")]);
}

#[test]
fn an_address_is_what_was_found_there() {
    let [good, bad, away, forbidden, huge] =
        ["good", "bad", "away", "forbidden", "huge"].map(|name| format!("https://example.com/{name}"));
    let fetched: Fetched = [
        (good.clone(), Ok(Bytes::from(file(72, 64, ImageFormat::WebP)))),
        (bad.clone(), Ok(Bytes::from_static(b"<html>secret</html>"))),
        (away.clone(), Err(NotFetched::Failed)),
        (forbidden.clone(), Err(NotFetched::Forbidden)),
        (huge.clone(), Err(NotFetched::TooManyBytes)),
    ]
    .into_iter()
    .collect();
    let spec = check_with(json!({ "prompt": "x", "image": good }), Unknown::Refused, &fetched).unwrap();
    assert_eq!((spec.width(), spec.image().unwrap().format()), (72, InputFormat::Webp));
    let stored = serde_json::to_string(&spec).unwrap();
    assert!(!stored.contains("example.com"), "a job has its pictures with it");
    for (address, kind) in [
        (bad, "unsupported_image_format"),
        (away, "file_download_error"),
        (forbidden, "file_download_error"),
        (huge, "file_too_large"),
        ("http://not.asked/".to_owned(), "feature_not_supported"),
        ("HTTPS://not.asked/".to_owned(), "feature_not_supported"),
    ] {
        let body = json!({ "prompt": "x", "image": address });
        let errors = check_with(body, Unknown::Refused, &fetched).unwrap_err();
        assert_eq!((errors[0].field(), errors[0].kind), ("image".to_owned(), kind), "{address}");
        assert!(!serde_json::to_string(&errors).unwrap().contains("secret"));
    }
}

#[test]
fn the_sources_of_a_request_are_where_its_fields_say() {
    let body = json!({ "prompt": "http://x", "image": "data:,", "mask_url": "HTTP://a/b", "mask": 7 });
    let body = body.as_object().unwrap();
    assert_eq!(picture_sources(body, Unknown::Refused), [PictureSource::Inline]);
    let both = [PictureSource::Inline, PictureSource::Url("HTTP://a/b")];
    assert_eq!(picture_sources(body, Unknown::Ignored), both);
}

/// Any JSON that is not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]{0,60}".prop_map(Value::from),
        "https?://.{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::btree_map("path|scale|[a-z]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const NAMES: &str = "prompt|negative_prompt|num_inference_steps|width|height|guidance_scale|guidance_rescale|\
                     clip_skip|loras|image|image_url|mask|mask_url|strength|seed|num_images|scheduler";

proptest! {
    #[test]
    fn any_json_is_answered(members in prop::collection::btree_map(NAMES, any_json(), 0..8), fal: bool) {
        let unknown = if fal { Unknown::Ignored } else { Unknown::Refused };
        let body = Value::Object(members.into_iter().collect());
        match check_with(body, unknown, &Fetched::default()) {
            Ok(spec) => prop_assert!(u64::from(spec.width()) * u64::from(spec.height()) <= MOST),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_answered(head in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let heads: [&[u8]; 4] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8 "];
        let file = [heads[head], &bytes].concat();
        let image = InputImage::new(file.into());
        prop_assert!(image.and_then(|image| image.decode()).is_err());
    }

    #[test]
    fn any_damage_is_answered(format in 0_usize..3, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut file = file(64, 48, FORMATS[format].0);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(image) = InputImage::new(file.into()) {
            // Damage may be harmless; what counts is that there is an answer.
            let _ = image.decode();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_picture_has_a_size_that_can_be_made(
        width in 1_u32..=2500,
        height in 1_u32..=2500,
        given in 0_usize..3,
        side in (8_u32..=256).prop_map(|n| 8 * n),
    ) {
        let mut black = Cursor::new(Vec::new());
        DynamicImage::new_luma8(width, height).write_to(&mut black, ImageFormat::Png).unwrap();
        let mut body = json!({ "prompt": "x", "image": uri("png", black.get_ref()) });
        if given > 0 {
            body[["width", "height"][given - 1]] = side.into();
        }
        let spec = check(body).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let made = [spec.width(), spec.height()];
        prop_assert!(made.iter().all(|side| (64..=2048).contains(side) && side % 8 == 0), "{made:?}");
        prop_assert!(u64::from(made[0]) * u64::from(made[1]) <= MOST, "{made:?}");
        if given > 0 {
            prop_assert_eq!(made[given - 1], side);
        }
    }
}
