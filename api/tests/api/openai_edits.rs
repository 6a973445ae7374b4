//! `POST /v1/images/edits`.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_api::Config;
use glimpse_shared::{job::Status, request::ImageSpec};
use image::{ImageFormat, Luma, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Stack};

const PATH: &str = "/v1/images/edits";
const BOUNDARY: &str = "a-boundary";

/// A PNG of 16x8 pixels; those of the left half have this alpha.
fn png(alpha: u8) -> Vec<u8> {
    let picture = RgbaImage::from_fn(16, 8, |x, _| Rgba([200, 100, 50, if x < 8 { alpha } else { 255 }]));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A PNG without alpha.
fn opaque() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image::RgbImage::new(16, 8).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

enum Part<'a> {
    Text(&'a str, &'a str),
    File(&'a str, Vec<u8>),
}
use Part::{File, Text};

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let (name, file, content) = match part {
            Text(name, text) => (name, "", text.as_bytes()),
            File(name, bytes) => (name, "; filename=\"a.png\"\r\nContent-Type: image/png", &bytes[..]),
        };
        body.extend(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
        );
        body.extend_from_slice(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    body
}

async fn send(client: &mut Client, body: &[u8]) {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await.unwrap();
    let _ = client.send(body).await;
}

async fn answer(stack: &Stack, parts: &[Part<'_>]) -> Answer {
    let mut client = stack.client().await;
    send(&mut client, &form(parts)).await;
    client.answer("POST").await
}

/// The request that a worker gets.
async fn asked(parts: &[Part<'_>]) -> ImageSpec {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    send(&mut client, &form(parts)).await;
    stack.worker().claim().await.job.spec
}

/// Where a request's mask is white: for the left and the right half.
fn white(spec: &ImageSpec) -> Option<[bool; 2]> {
    let mask = spec.mask()?.decode().unwrap().to_luma8();
    Some([2, 12].map(|x| *mask.get_pixel(x, 4) == Luma([255])))
}

#[tokio::test]
async fn transparent_pixels_of_the_mask_are_edited() {
    let spec = asked(&[
        Text("prompt", "7"),
        File("image", opaque()),
        File("mask", png(0)),
        Text("n", "2"),
        Text("size", "64x64"),
        Text("seed", "5"),
        Text("guidance_scale", "3.5"),
        Text("stream", "false"),
        Text("loras", r#"[{"path":"a"}]"#),
        File("unknown", vec![0xff]),
    ])
    .await;
    assert_eq!((spec.prompt(), spec.num_images(), spec.seed()), ("7", 2, 5));
    assert_eq!((spec.width(), spec.height(), spec.guidance_scale()), (64, 64, 3.5));
    assert_eq!((white(&spec), spec.loras().len()), (Some([true, false]), 1));
    assert_eq!(spec.strength(), 0.9999);
    assert_eq!(spec.image().unwrap().bytes(), &opaque());
}

#[tokio::test]
async fn nested_values_come_in_brackets() {
    let image = || File("image", opaque());
    let both = vec![("a".to_owned(), 0.5), ("7".to_owned(), 2.0)];
    for parts in [
        [
            Text("loras[][path]", "a"),
            Text("loras[][path]", "7"),
            Text("loras[][scale]", "0.5"),
            Text("loras[][scale]", "2"),
        ],
        [
            Text("loras[][path]", "a"),
            Text("loras[][scale]", "0.5"),
            Text("loras[][path]", "7"),
            Text("loras[][scale]", "2"),
        ],
        [
            Text("loras[0][path]", "a"),
            Text("loras[0][scale]", "0.5"),
            Text("loras[1][path]", "7"),
            Text("loras[1][scale]", "2"),
        ],
    ] {
        let mut all = vec![Text("prompt", "x"), image(), Text("foo[a]", "b"), Text("foo[", "c")];
        all.extend(parts);
        let spec = asked(&all).await;
        let loras: Vec<_> = spec.loras().iter().map(|lora| (lora.path().to_string(), lora.scale())).collect();
        assert_eq!(loras, both);
    }
    let stack = Stack::start().await;
    for (param, parts) in [
        ("loras", vec![Text("loras[", "a")]),
        ("loras", vec![Text("loras[][]", "a")]),
        ("loras", vec![Text("loras[][path]", "a"), Text("loras[a]", "b")]),
        ("loras", vec![Text("loras[][path]", "a"), Text("loras[][path]", "b"), Text("loras[][scale]", "1")]),
        ("loras[0].scale", vec![Text("loras[][path]", "a"), Text("loras[][scale]", "50")]),
        ("prompt", vec![Text("prompt[a]", "b")]),
        ("image", vec![Text("image[a]", "b")]),
        ("seed", vec![Text("seed[]", "1")]),
    ] {
        let mut all = vec![Text("prompt", "x")];
        all.extend(parts);
        all.push(image());
        let answer = answer(&stack, &all).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(param)),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_controlnet_comes_in_brackets_with_its_picture_as_a_file() {
    let uri = format!("data:image/png;base64,{}", STANDARD.encode(opaque()));
    for picture in [File("controlnets[0][image]", opaque()), Text("controlnets[0][image]", &uri)] {
        let spec = asked(&[
            Text("prompt", "x"),
            File("image", opaque()),
            Text("controlnets[0][path]", "7"),
            picture,
            Text("controlnets[0][scale]", "0.5"),
            Text("controlnets[1][path]", "depth"),
            File("controlnets[1][image]", opaque()),
        ])
        .await;
        let nets: Vec<_> =
            spec.controlnets().iter().map(|net| (net.path().full_text(), net.scale())).collect();
        assert_eq!(nets, [("7".to_owned(), 0.5), ("depth".to_owned(), 1.0)]);
        assert_eq!(spec.controlnets()[0].image().bytes(), &opaque());
    }
}

#[tokio::test]
async fn a_switch_may_be_written_as_other_languages_write_it() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    for (word, kind) in [
        ("True", "text/event-stream"),
        ("1", "text/event-stream"),
        ("False", "application/json"),
        ("0", "application/json"),
    ] {
        let parts =
            [Text("prompt", "x"), Text("strength", "1"), File("image", opaque()), Text("stream", word)];
        let mut client = stack.client().await;
        send(&mut client, &form(&parts)).await;
        let answer = client.answer("POST").await;
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{word}: {}", answer.text());
    }
}

#[tokio::test]
async fn without_a_mask_the_pictures_own_alpha_is_the_mask() {
    let spec = asked(&[Text("prompt", "x"), File("image[]", png(0))]).await;
    assert_eq!((white(&spec), spec.strength()), (Some([true, false]), 0.9999));
    // Without transparent pixels the whole picture changes.
    for image in [png(255), png(128), opaque()] {
        let spec = asked(&[Text("prompt", "x"), File("image", image)]).await;
        assert_eq!((white(&spec), spec.strength()), (None, 0.3));
        assert_eq!((spec.width(), spec.height()), (128, 64), "of the shape of the picture");
    }
}

#[tokio::test]
async fn the_events_of_an_edit_have_its_name() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let parts = [
        Text("prompt", "x"),
        Text("strength", "1"),
        File("image", opaque()),
        Text("stream", "true"),
        Text("partial_images", "1"),
    ];
    let mut client = stack.client().await;
    send(&mut client, &form(&parts)).await;
    let blocks = client.opened().await.rest().await;
    let names: Vec<_> = blocks.iter().map(|block| block.lines().next().unwrap()).collect();
    assert_eq!(names, ["event: image_edit.partial_image", "event: image_edit.completed"]);
}

#[tokio::test]
async fn invalid_parts_are_named() {
    let stack = Stack::start().await;
    let prompt = || Text("prompt", "x");
    for (param, parts) in [
        (json!("image"), vec![prompt()]),
        (json!("image"), vec![prompt(), File("image", b"GIF89a".to_vec())]),
        (json!("image"), vec![prompt(), File("image", opaque()), File("image", opaque())]),
        (json!("image"), vec![prompt(), File("image[]", opaque()), File("image[]", opaque())]),
        (json!("mask"), vec![prompt(), File("image", opaque()), File("mask", opaque())]),
        (json!("mask"), vec![prompt(), File("image", opaque()), File("mask", b"no".to_vec())]),
        (json!("markup"), vec![prompt(), File("image", opaque()), File("markup", png(0))]),
        (json!("n"), vec![prompt(), File("image", opaque()), Text("n", "two")]),
        (json!("size"), vec![prompt(), File("image", opaque()), Text("size", "7")]),
        (json!("prompt"), vec![File("image", opaque())]),
        (Value::Null, (0..65).map(|_| Text("a", "b")).collect()),
    ] {
        let answer = answer(&stack, &parts).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.text());
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let stack = Stack::with(Config { body_limit: 4096, ..Config::default() }).await;
    let json = stack.post(PATH, r#"{"prompt":"x"}"#).await;
    assert_eq!((json.status, &json.json()["error"]["param"]), (400, &Value::Null));
    assert!(json.text().contains("multipart/form-data"), "{}", json.text());

    let whole = form(&[Text("prompt", "x"), File("image", opaque())]);
    let mut client = stack.client().await;
    send(&mut client, &whole[..whole.len() - 10]).await;
    assert_eq!(client.answer("POST").await.status, 400);

    let large = answer(&stack, &[Text("prompt", "x"), File("image", vec![0; 5000])]).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_edit() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    send(&mut client, &form(&[Text("prompt", "x"), File("image", opaque())])).await;
    let lease = stack.worker().claim().await;
    drop(client);
    stack.until(lease.job.id, Status::Cancelled).await;
}
