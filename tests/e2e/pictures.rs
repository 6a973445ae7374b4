//! Image-to-image, inpainting and LoRAs through the API.

use std::path::Path;

use super::stack::{Process, client, distance, picture};
use base64::{Engine, engine::general_purpose::STANDARD};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

async fn serve(args: &[&str]) -> (Process, String) {
    let mut process = Process::start("glimpse", &[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    let address = process.address().await;
    (process, address)
}

async fn run(address: &str, body: &Value) -> Value {
    let answer = client().post(format!("{address}/glimpse/demo")).json(body).send().await.unwrap();
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

fn data_uri(picture: &RgbImage) -> String {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner()))
}

/// Blue above, yellow below.
fn flag() -> RgbImage {
    RgbImage::from_fn(128, 128, |_, y| if y < 64 { Rgb([30, 60, 200]) } else { Rgb([230, 210, 40]) })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_less_strength_the_input_picture_is_kept_more() {
    let (_process, address) = serve(&[]).await;
    let mut away = Vec::new();
    for strength in [0.2, 0.6, 1.0] {
        let body = json!({ "prompt": "a red heart on a white background", "seed": 1, "strength": strength,
            "image": data_uri(&flag()), "num_inference_steps": 10 });
        let made = picture(&run(&address, &body).await["image"]["url"]);
        away.push(distance(&made, &flag()));
    }
    assert!(away.is_sorted() && away[0] < 45.0 && away[2] > 60.0, "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_black_part_of_the_mask_is_kept() {
    let (_process, address) = serve(&[]).await;
    let mask = RgbImage::from_fn(64, 64, |x, _| if x < 32 { Rgb([0; 3]) } else { Rgb([255; 3]) });
    let body = json!({ "prompt": "a red heart on a white background", "seed": 1, "num_inference_steps": 10,
        "image": data_uri(&flag()), "mask": data_uri(&mask) });
    let made = picture(&run(&address, &body).await["image"]["url"]);
    let half = |picture: &RgbImage, x| image::imageops::crop_imm(picture, x, 0, 48, 128).to_image();
    let (kept, changed) =
        (distance(&half(&made, 0), &half(&flag(), 0)), distance(&half(&made, 80), &half(&flag(), 80)));
    assert!(kept < 20.0 && changed > 2.0 * kept, "{kept} {changed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_picture_is_named() {
    let (_process, address) = serve(&[]).await;
    let body = json!({ "prompt": "a heart", "image": "data:image/png;base64,AAAA" });
    let answer = client().post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["detail"][0]["loc"], json!(["body", "image"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn loras_are_files_of_the_operators_folder() {
    let parity = "worker/tests/parity";
    let folder = format!("{parity}/variants");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).is_dir());
    let args = ["--model", &format!("{parity}/model"), "--taesd", &format!("{parity}/taesdxl")];
    let (_process, address) = serve(&[&args[..], &["--lora-dir", &folder]].concat()).await;
    let body =
        |loras: Value| json!({ "prompt": "a heart", "seed": 1, "num_inference_steps": 2, "loras": loras });
    let plain = run(&address, &body(json!([]))).await;
    let changed = run(&address, &body(json!([{ "path": "kohya_sgm", "scale": 0.8 }]))).await;
    assert_ne!(changed["image"]["url"], plain["image"]["url"]);
    assert_eq!(run(&address, &body(json!(null))).await["image"]["url"], plain["image"]["url"], "left over");

    for (path, status) in
        [("nowhere", 400), ("../model/unet/diffusion_pytorch_model", 422), ("/etc/passwd", 422)]
    {
        let body = body(json!([{ "path": path }]));
        let answer = client().post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap();
        let (got, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(got, status, "{path}: {text}");
        assert!(text.contains("loras"), "{text}");
    }
}
