//! How a picture affects the other fields of its request, and in which fields it may be.

use bytes::Bytes;
use glimpse_shared::request::{
    Fetched, FieldError, InputFormat, InputImage, Names, NotFetched, PictureSource, Task, picture_sources,
};
use image::ImageFormat;
use serde_json::{Value, json};

use crate::support::{check, check_with, file, png, rotated_jpeg, uri, wrong};

#[test]
fn without_a_picture_nothing_changes() {
    let spec = check(json!({ "prompt": "x", "image": null, "mask": null, "strength": null })).unwrap();
    assert_eq!((spec.image(), spec.mask(), spec.strength()), (None, None, 1.0));
    assert_eq!((spec.width(), spec.height(), spec.steps_to_take()), (128, 96, 20));
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
        // Shapes that no output picture can have.
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
    let rotated = check(json!({ "prompt": "x", "image": uri("jpeg", &rotated_jpeg(128, 64)) })).unwrap();
    assert_eq!((rotated.width(), rotated.height()), (64, 128), "the Exif orientation is not applied");
    assert_eq!(rotated.image().unwrap().decode().unwrap().width(), 64);
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
        // A default that would leave no step runs one.
        (json!({ "num_inference_steps": 3 }), 1.0 / 3.0, 1),
        (json!({ "num_inference_steps": 2 }), 0.5, 1),
        (json!({ "num_inference_steps": 1 }), 1.0, 1),
        (json!({ "num_inference_steps": 1, "mask": png(64, 64) }), 1.0, 1),
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
        (json!({ "num_inference_steps": 3, "strength": 0.3 }), "too_few_steps"),
    ] {
        assert_eq!(wrong(of(members.clone()), Names::Own), [("strength".to_owned(), kind)], "{members}");
    }
}

#[test]
fn a_mask_and_a_strength_belong_to_a_picture() {
    for names in [Names::Own, Names::Fal(Task::Any)] {
        let body = json!({ "prompt": "x", "mask": png(64, 64), "strength": 0.5 });
        let missing = |field: &str| (field.to_owned(), "missing_image");
        assert_eq!(wrong(body, names), [missing("mask"), missing("strength")]);
    }
    let body = json!({ "prompt": "x", "image": 7, "mask": ["a"] });
    let string = |field: &str| (field.to_owned(), "string_type");
    assert_eq!(wrong(body, Names::Own), [string("image"), string("mask")]);
}

#[test]
fn fals_names_work_only_on_fals_routes() {
    let nothing = Fetched::default();
    let body = json!({ "prompt": "x", "image_url": png(64, 72), "mask_url": png(8, 8) });
    let spec = check_with(body.clone(), Names::Fal(Task::Any), &nothing).unwrap();
    assert_eq!((spec.height(), spec.mask().map(InputImage::width)), (72, Some(8)));
    let extra = |field: &str| (field.to_owned(), "extra_forbidden");
    assert_eq!(wrong(body, Names::Own), [extra("image_url"), extra("mask_url")]);

    // Ours count.
    let body = json!({ "prompt": "x", "image": png(64, 64), "image_url": "data:,", "mask": null, "mask_url": png(8, 8) });
    let spec = check_with(body, Names::Fal(Task::Any), &nothing).unwrap();
    assert_eq!(
        (spec.image().map(InputImage::width), spec.mask().map(InputImage::width)),
        (Some(64), Some(8))
    );
    let body = json!({ "prompt": "x", "image": null, "image_url": png(64, 64), "mask_url": "data:," });
    assert_eq!(wrong(body, Names::Fal(Task::Any)), [("mask_url".to_owned(), "image_load_error")]);
}

#[test]
fn a_url_stands_for_its_fetched_picture() {
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
    let spec = check_with(json!({ "prompt": "x", "image": good }), Names::Own, &fetched).unwrap();
    assert_eq!((spec.width(), spec.image().unwrap().format()), (72, InputFormat::Webp));
    let stored = serde_json::to_string(&spec).unwrap();
    assert!(!stored.contains("example.com"), "the job has the URL");
    for (address, kind) in [
        (bad, "unsupported_image_format"),
        (away, "file_download_error"),
        (forbidden, "file_download_error"),
        (huge, "file_too_large"),
        ("http://not.asked/".to_owned(), "feature_not_supported"),
        ("HTTPS://not.asked/".to_owned(), "feature_not_supported"),
    ] {
        let body = json!({ "prompt": "x", "image": address });
        let errors = check_with(body, Names::Own, &fetched).unwrap_err();
        assert_eq!((errors[0].field(), errors[0].kind), ("image".to_owned(), kind), "{address}");
        assert!(!serde_json::to_string(&errors).unwrap().contains("secret"));
    }
}

#[test]
fn the_sources_of_a_request_are_found() {
    let body = json!({ "prompt": "http://x", "image": "data:,", "mask_url": "HTTP://a/b", "mask": null });
    let body = body.as_object().unwrap();
    assert_eq!(picture_sources(body, Names::Own), [PictureSource::Inline]);
    let both = [PictureSource::Inline, PictureSource::Url("HTTP://a/b")];
    assert_eq!(picture_sources(body, Names::Fal(Task::Any)), both);
}

#[test]
fn the_part_around_a_mask_needs_a_mask_of_the_pictures_size() {
    let of = |members: Value| {
        let mut body = json!({ "prompt": "x", "image": png(96, 64) });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        check(body)
    };
    let spec =
        of(json!({ "mask": png(96, 64), "padding_mask_crop": 32, "width": 128, "height": 128 })).unwrap();
    assert_eq!((spec.padding_mask_crop(), spec.width(), spec.height()), (Some(32), 128, 128));
    for (members, field) in [
        (json!({ "padding_mask_crop": 32 }), "padding_mask_crop"),
        (json!({ "mask": png(64, 64), "padding_mask_crop": 32 }), "padding_mask_crop"),
        (json!({ "mask": png(96, 64), "padding_mask_crop": 257 }), "padding_mask_crop"),
        (json!({ "mask": png(96, 64), "denoising_end": 0.5 }), "denoising_end"),
        (json!({ "hires": {} }), "hires"),
    ] {
        let errors = of(members.clone()).unwrap_err();
        assert_eq!(errors.iter().map(FieldError::field).collect::<Vec<_>>(), [field], "{members}");
    }
}

#[test]
fn the_pictures_of_controlnets_are_sources_too() {
    let body = json!({ "prompt": "x", "controlnets": [
        { "image": "data:,", "image_url": "http://not/read" }, { "image_url": "http://a/b" }, 7, { "path": "x" },
    ] });
    let body = body.as_object().unwrap();
    assert_eq!(picture_sources(body, Names::Own), [PictureSource::Inline]);
    let both = [PictureSource::Inline, PictureSource::Url("http://a/b")];
    assert_eq!(picture_sources(body, Names::Fal(Task::Any)), both);
}
