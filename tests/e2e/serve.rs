//! `glimpse serve`: the API and a worker in one process.

use super::stack::{Process, Sse, client, distance, json as data, picture};
use serde_json::{Value, json};

const HEART: &str = "a red heart on a white background";

async fn serve() -> (Process, String) {
    let mut process = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = process.address().await;
    (process, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_forms_on_the_stream() {
    let (_process, address) = serve().await;
    let request =
        client().post(format!("{address}/glimpse/demo/stream")).json(&json!({ "prompt": HEART, "seed": 1 }));
    let events: Vec<Value> = Sse::open(request).await.rest().await.iter().map(data).collect();
    assert_eq!(events.len(), 5, "4 previews and the end");
    let pictures: Vec<_> = events.iter().map(|event| picture(&event["image"]["url"])).collect();
    for (event, picture) in events.iter().zip(&pictures) {
        assert_eq!(event["image"]["content_type"], "image/jpeg");
        assert_eq!(picture.dimensions(), (128, 128));
    }
    assert_eq!(events[4]["seed"], 1);

    let end = &pictures[4];
    let away: Vec<f64> = pictures.iter().map(|picture| distance(picture, end)).collect();
    assert!(away[0] > away[1] && away[1] > away[2] && away[2] > away[3], "previews sharpen: {away:?}");
    let [r, g, b] = end.get_pixel(64, 60).0;
    assert!(r > 150 && g < 100 && b < 100, "the middle is red: {r} {g} {b}");
    for corner in [(2, 2), (125, 2), (2, 125), (125, 125)] {
        assert!(
            end.get_pixel(corner.0, corner.1).0.iter().all(|&value| value > 200),
            "the corners are white"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_bytes_on_every_route() {
    let (_process, address) = serve().await;
    let client = client();
    let body = json!({ "prompt": HEART, "seed": 7, "num_inference_steps": 4 });
    let stream =
        Sse::open(client.post(format!("{address}/glimpse/demo/stream")).json(&body)).await.rest().await;
    let streamed = data(stream.last().unwrap());

    let run = client.post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap();
    let id = run.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
    let ran: Value = run.json().await.unwrap();
    assert_eq!(ran["image"]["url"], streamed["image"]["url"]);
    assert_eq!(ran["seed"], 7);

    let image = client.get(format!("{address}/v1/jobs/{id}/image")).send().await.unwrap();
    assert_eq!(image.headers()["content-type"], "image/jpeg");
    let bytes = image.bytes().await.unwrap();
    assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), picture(&ran["image"]["url"]));

    let other = json!({ "prompt": HEART, "seed": 8, "num_inference_steps": 4 });
    let other: Value = client
        .post(format!("{address}/glimpse/demo"))
        .json(&other)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_ne!(other["image"]["url"], ran["image"]["url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_its_pictures_in_every_format() {
    let (_process, address) = serve().await;
    for format in ["png", "webp", "jpeg"] {
        let body = json!({ "prompt": HEART, "seed": 3, "num_images": 2, "num_inference_steps": 2,
            "width": 64, "height": 96, "output_format": format });
        let run = client().post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap();
        let ran: Value = run.json().await.unwrap();
        assert_eq!(ran["images"].as_array().map(Vec::len), Some(2), "{ran}");
        for image in ran["images"].as_array().unwrap() {
            assert_eq!(image["content_type"], format!("image/{format}"));
            assert_eq!((&image["width"], &image["height"]), (&json!(64), &json!(96)));
        }
        assert_ne!(ran["images"][0]["url"], ran["images"][1]["url"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_frees_the_worker() {
    let (_process, address) = serve().await;
    let client = client();
    let body = json!({ "app": "glimpse/demo", "prompt": HEART, "num_inference_steps": 50, "width": 512, "height": 512 });
    let job: Value =
        client.post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap().json().await.unwrap();
    let mut events = Sse::open(client.get(format!("{address}{}", path(&job["urls"]["events"])))).await;
    while events.next().await.expect("a preview").event != "preview" {}
    let url = format!("{address}/v1/jobs/{}", job["id"].as_str().unwrap());
    let cancelled: Value = client.delete(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(cancelled["status"], "cancelled");
    let rest = events.rest().await;
    assert_eq!(rest.last().map(|event| event.event.as_str()), Some("cancelled"));

    // The next job ends long before the cancelled one would have ended.
    let quick = json!({ "prompt": HEART, "num_inference_steps": 1 });
    let run = client.post(format!("{address}/glimpse/demo")).json(&quick).send().await.unwrap();
    assert_eq!(run.status(), 200);
}

/// The path of a URL that may be absolute.
fn path(url: &Value) -> String {
    let url = url.as_str().unwrap();
    url.find("/v1/").map(|at| url[at..].to_owned()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_on_sigterm() {
    let (mut process, address) = serve().await;
    assert_eq!(client().get(format!("{address}/health/ready")).send().await.unwrap().status(), 200);
    process.signal("TERM");
    assert!(process.exit(std::time::Duration::from_secs(10)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_named() {
    let mut process =
        Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--model", "no/such/model"]);
    let status = process.exit(super::stack::SOON).await;
    assert_eq!(status.code(), Some(2));
    assert!(process.log().contains("no/such/model"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_logs_its_progress() {
    let (process, _) = serve().await;
    let log = process.log();
    for part in [
        "loading text encoder 1: ",
        "loading text encoder 2: ",
        "loading the UNet: ",
        "loading the VAE: ",
        "loading the preview decoder: ",
        "warming up with a picture of 64x64",
        "warmed up in ",
    ] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_limit_the_size_of_pictures() {
    let args = ["serve", "--listen", "127.0.0.1:0", "--max-pixels", "10000"];
    let mut process = Process::start("glimpse", &args);
    let address = process.address().await;
    let run = async |body: Value| {
        client().post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap()
    };
    let worker: Value =
        client().get(format!("{address}/v1/workers")).send().await.unwrap().json().await.unwrap();
    let worker = &worker["workers"][0];
    // The demo model's own size is 128x128.
    assert_eq!((&worker["max_pixels"], &worker["native_width"]), (&json!(10000), &json!(96)), "{worker}");

    let refused = run(json!({ "prompt": HEART, "width": 128, "height": 80 })).await;
    assert_eq!(refused.status(), 422);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "width"]), "{refused}");
    assert!(refused["detail"][0]["msg"].as_str().unwrap().contains("at most 10000 pixels"), "{refused}");

    let made = run(json!({ "prompt": HEART, "num_inference_steps": 1 })).await;
    assert_eq!(made.status(), 200);
    let made: Value = made.json().await.unwrap();
    assert_eq!((&made["image"]["width"], &made["image"]["height"]), (&json!(96), &json!(96)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_the_smallest_picture_is_rejected() {
    for pixels in ["4095", "2097153", "0", "-1", "1024x1024", ""] {
        let mut process =
            Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--max-pixels", pixels]);
        assert_eq!(process.exit(super::stack::SOON).await.code(), Some(2), "{pixels:?}");
        assert!(process.log().contains("--max-pixels"), "{}", process.log());
    }
}
