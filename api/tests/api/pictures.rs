//! Pictures and LoRAs in requests, on every submitting route.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::support::Stack;

/// The routes that submit, the members that their bodies need besides the picture, and their names of the pictures.
const ROUTES: [(&str, &str, &str); 5] = [
    ("/v1/jobs", "image", "mask"),
    ("/glimpse/demo", "image", "mask"),
    ("/glimpse/demo", "image_url", "mask_url"),
    ("/glimpse/demo/stream", "image", "mask"),
    ("/glimpse/demo/stream", "image_url", "mask_url"),
];

/// A PNG with the size 100000x100000 in its header.
const HUGE: &str = "data:image/png;base64,\
    iVBORw0KGgoAAAANSUhEUgABhqAAAYagCAIAAAAnMJyfAAAAC0lEQVR4nGNggAEAAAoAAX+AdF4AAAAASUVORK5CYII=";

/// A picture of some kilobytes.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (x * y) as u8]);
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_fn(width, height, pixel))
        .write_to(&mut file, ImageFormat::Png)
        .unwrap();
    file.into_inner()
}

fn uri(name: &str, file: &[u8]) -> String {
    format!("data:image/{name};base64,{}", STANDARD.encode(file))
}

/// A body for a route, with more members.
pub(crate) fn body(members: Value) -> String {
    let mut body = json!({ "prompt": "a" });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn own(path: &str, members: Value) -> String {
    let mut members = members;
    if path == "/v1/jobs" {
        members["app"] = json!("glimpse/demo");
    }
    body(members)
}

#[tokio::test]
async fn a_wrong_picture_names_its_field_on_every_route() {
    let stack = Stack::start().await;
    let file = png(96, 64);
    let good = uri("png", &file);
    for (path, image, mask) in ROUTES {
        for (wrong, kind) in [
            (json!("data:image/png;base64,####"), "image_load_error"),
            (json!(uri("png", &file[..file.len() / 2])), "image_load_error"),
            (json!(format!("data:image/png,{}", STANDARD.encode(&file))), "image_load_error"),
            (json!(uri("png", b"GIF89a\x01\0\x01\0\0\0\0;")), "image_load_error"),
            (json!(uri("png", b"II*\0\x08\0\0\0\0\0\0\0")), "unsupported_image_format"),
            (json!(uri("png", b"<svg/>")), "unsupported_image_format"),
            (json!(HUGE), "image_too_large"),
            (json!("a.png"), "image_load_error"),
            (json!(["data:"]), "string_type"),
            (json!("http://127.0.0.1/a.png"), "feature_not_supported"),
            (json!("https://example.com/a.png"), "feature_not_supported"),
        ] {
            for (field, members) in
                [(image, json!({ image: wrong })), (mask, json!({ image: good, mask: wrong }))]
            {
                let answer = stack.post(path, &own(path, members)).await;
                assert_eq!(answer.status, 422, "{path} {field} {kind}");
                let detail = answer.json()["detail"].clone();
                assert_eq!(detail.as_array().unwrap().len(), 1, "{path} {detail}");
                assert_eq!(
                    (&detail[0]["loc"], &detail[0]["type"]),
                    (&json!(["body", field]), &json!(kind)),
                    "{path}"
                );
                assert!(answer.body.len() < 1_000, "the picture is not sent back");
            }
        }
    }
    let answer = stack.post("/v1/jobs", &own("/v1/jobs", json!({ "image_url": good }))).await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["type"]), (422, &json!("extra_forbidden")));
    // Ours counts.
    let both = stack.post("/glimpse/demo", &body(json!({ "image": "a.png", "image_url": good }))).await;
    assert_eq!((both.status, &both.json()["detail"][0]["loc"]), (422, &json!(["body", "image"])));
}

#[tokio::test]
async fn a_picture_reaches_the_worker_as_it_was_sent() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let (image, mask) = (png(200, 120), png(7, 9));
    let members = json!({
        "app": "glimpse/demo", "image": uri("png", &image), "mask": uri("png", &mask), "strength": 0.5,
        "guidance_rescale": 0.7, "clip_skip": 2, "loras": [{ "path": "styles/ink", "scale": 0.5 }],
    });
    let answer = stack.post("/v1/jobs", &body(members)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let lease = worker.claim().await;
    let spec = &lease.job.spec;
    assert_eq!(spec.image().unwrap().bytes(), &image);
    assert_eq!(spec.mask().unwrap().bytes(), &mask);
    assert_eq!((spec.width(), spec.height(), spec.strength(), spec.steps_to_take()), (200, 120, 0.5, 10));
    assert_eq!((spec.guidance_rescale(), spec.clip_skip()), (0.7, Some(2)));
    assert_eq!((&*spec.loras()[0].path().full_text(), spec.loras()[0].scale()), ("styles/ink", 0.5));

    // The progress counts the steps that are run.
    let mut lease = lease;
    worker.preview(&mut lease, 5).await;
    let status = stack.get(&format!("/v1/jobs/{}", lease.job.id)).await.json();
    assert_eq!(status["progress"], json!({ "step": 5, "steps": 10 }));
    worker.complete(lease).await;
}

#[tokio::test]
async fn an_error_in_a_lora_has_its_index() {
    let stack = Stack::start().await;
    let loras = json!([{ "path": "good" }, { "path": "../../etc/passwd", "weight_name": "x" }]);
    for path in ["/v1/jobs", "/glimpse/demo", "/glimpse/demo/stream"] {
        let answer = stack.post(path, &own(path, json!({ "loras": loras }))).await;
        assert_eq!(answer.status, 422, "{path}");
        let detail = answer.json()["detail"].clone();
        assert_eq!(detail[0]["loc"], json!(["body", "loras", 1, "path"]));
        let more = if path == "/v1/jobs" { json!(["body", "loras", 1, "weight_name"]) } else { Value::Null };
        assert_eq!(detail[1]["loc"], more, "{path}");
    }
}

#[tokio::test]
async fn invalid_pictures_are_reported_with_all_other_errors() {
    let stack = Stack::start().await;
    let members = json!({ "app": 7, "image": "x", "seed": -1, "run_timeout": 0 });
    let answer = stack.post("/v1/jobs", &body(members)).await.json();
    let fields: Vec<_> = answer["detail"].as_array().unwrap().iter().map(|e| &e["loc"][1]).collect();
    assert_eq!(fields, ["app", "run_timeout", "image", "seed"]);
}

#[tokio::test]
async fn a_picture_is_read_by_its_bytes_on_every_route() {
    let stack = Stack::start().await;
    let mut jpeg = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(72, 64).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let in_lines = STANDARD.encode(&jpeg).replace("4A", "4A\r\n").replace('=', "%3D");
    let mut worker = stack.worker();
    for (path, image, mask) in ROUTES {
        let wrongly = json!({ image: format!("data:image/png;base64,{in_lines}"),
            mask: format!("data:application/octet-stream;base64,{}", STANDARD.encode(&jpeg[..jpeg.len() - 2])) });
        let body = own(path, wrongly);
        let (answer, ()) = tokio::join!(stack.post(path, &body), async {
            let lease = worker.claim().await;
            for picture in [lease.job.spec.image(), lease.job.spec.mask()] {
                assert_eq!(picture.map(|picture| &picture.bytes()[..]), Some(&jpeg[..]), "{path}");
            }
            worker.complete(lease).await;
        });
        assert!([200, 202].contains(&answer.status), "{path}: {}", answer.text());
    }
}
