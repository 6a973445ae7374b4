//! OpenAI's own unmodified clients call our server, with another base URL alone.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ImageFormat, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use super::sdk::{PYTHON, Way, answers};

/// A mask as OpenAI has them: the left half is transparent, so it is edited.
fn mask() -> String {
    let mask = RgbaImage::from_fn(16, 16, |x, _| Rgba([90, 90, 90, if x < 8 { 0 } else { 255 }]));
    let mut file = Cursor::new(Vec::new());
    mask.write_to(&mut file, ImageFormat::Png).unwrap();
    STANDARD.encode(file.into_inner())
}

/// The picture in a data URI, which must be of its media type.
fn picture(url: &Value) -> RgbImage {
    let (head, data) = url.as_str().expect("a URL").split_once(";base64,").expect("a data URI");
    let format =
        ImageFormat::from_mime_type(head.strip_prefix("data:").expect("a data URI")).expect("a format");
    let file = STANDARD.decode(data).expect("base64");
    image::load_from_memory_with_format(&file, format).expect("a picture").to_rgb8()
}

/// Checks the events of a stream, and returns the last picture.
fn check_stream<'a>(events: &'a Value, of: &str, partials: usize, about: &Value) -> &'a Value {
    let events = events.as_array().unwrap();
    assert_eq!(events.len(), partials + 1, "{of}");
    for (index, event) in events.iter().enumerate() {
        let is_last = index == partials;
        let kind = if is_last { "completed" } else { "partial_image" };
        assert_eq!(event["type"], format!("{of}.{kind}"));
        assert_eq!(event["index"], if is_last { Value::Null } else { index.into() });
        assert_eq!((&event["about"], &event["dated"]), (about, &json!(true)));
        let (width, height) = picture(&event["url"]).dimensions();
        assert_eq!(about[0], format!("{width}x{height}"));
    }
    &events[partials]["url"]
}

/// What both clients must have received. The names of the exceptions differ.
fn check(seen: &Value, timeout: &str) {
    let whole = &seen["whole"];
    assert_eq!(picture(&whole["url"]).dimensions(), (128, 128));
    assert_eq!(
        (&whole["size"], &whole["format"], &whole["seed"]),
        (&json!("128x128"), &json!("png"), &json!(1))
    );
    assert_eq!((&whole["usage"], whole["id"].as_str().map(str::len)), (&Value::Null, Some(36)));
    let linked = seen["linked"].as_array().unwrap();
    assert_eq!(linked.len(), 2);
    assert_ne!(picture(&linked[0]), picture(&linked[1]));

    let about = json!(["128x128", "high", "opaque", "png"]);
    let last = check_stream(&seen["stream"], "image_generation", 3, &about);
    assert_eq!(last, &whole["url"], "the same seed gives the same picture");
    let about = json!(["64x64", "auto", "opaque", "webp"]);
    check_stream(&seen["edits"], "image_edit", 1, &about);

    // The opaque half of the mask is kept, and the other half is not.
    let (before, after) = (picture(&whole["url"]), picture(&seen["edited"]));
    assert_eq!(after.dimensions(), (128, 128));
    assert_ne!(before, after);

    assert_eq!(seen["models"], json!([["glimpse/demo", "model", "glimpse"]]));
    assert_eq!(seen["model"], "glimpse/demo");
    let refused = &seen["refused"];
    for field in ["size", "n", "background", "partial_images", "prompt", "mask"] {
        let error = &refused[field];
        assert_eq!((&error["kind"], &error["status"]), (&json!("BadRequestError"), &json!(400)), "{error}");
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(field)));
        assert_eq!(error["code"], "invalid_value", "{field}");
        assert_eq!(error["id"].as_str().map(str::len), Some(36));
    }
    for call in ["model", "retrieve"] {
        let error = &refused[call];
        assert_eq!((&error["kind"], &error["status"]), (&json!("NotFoundError"), &json!(404)), "{error}");
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("model_not_found")));
    }
    assert_eq!(refused["timeout"]["kind"], timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_client() {
    python(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_client_over_https() {
    python(Way::Https).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_client_through_nginx() {
    python(Way::Nginx).await;
}

async fn python(way: Way) {
    let seen = answers(way, PYTHON, "tests/sdk/openai_images.py", &[&mask()]).await;
    let (seen_by, whole) = (&seen["blocking"], &seen["blocking"]["whole"]["url"]);
    check(seen_by, "APITimeoutError");
    assert_eq!(seen_by["refused"]["variation"]["kind"], "NotFoundError");
    for url in seen_by["two"].as_array().unwrap() {
        assert_eq!(picture(url).dimensions(), (64, 128));
    }

    let seen_by = &seen["asynchronous"];
    let pictures = seen_by["whole"].as_array().unwrap();
    assert_eq!((&pictures[0], &pictures[2], &seen_by["after"]), (whole, whole, whole));
    assert_ne!(&pictures[1], whole);
    let about = json!(["128x128", "auto", "opaque", "png"]);
    assert_eq!(check_stream(&seen_by["stream"], "image_generation", 2, &about), whole);
    assert_eq!(seen_by["hung_up"].as_str().map(str::len), Some(36));
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_javascript_client() {
    javascript(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_javascript_client_over_https() {
    javascript(Way::Https).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_javascript_client_through_nginx() {
    javascript(Way::Nginx).await;
}

async fn javascript(way: Way) {
    let seen = answers(way, "node", "tests/sdk/openai_images.mjs", &[&mask()]).await;
    check(&seen, "APIConnectionTimeoutError");
    let pictures = seen["concurrent"].as_array().unwrap();
    assert_eq!((&pictures[0], &pictures[2]), (&seen["whole"]["url"], &seen["whole"]["url"]));
    assert_ne!(pictures[0], pictures[1]);
}
