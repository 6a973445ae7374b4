//! ControlNets of the Hub and of URLs, and embeddings of both.

use std::collections::BTreeSet;
use std::path::Path;

use glimpse_shared::request::{Defaults, ImageSpec, LoraPath, Offer, PreviewSource, Unknown};
use glimpse_test_support::{
    HubServer,
    files::{Answer, FileServer, lora, safetensors},
};
use glimpse_worker::{
    controlnet_dir::ControlNetDir,
    hub::{HubOptions, Token},
    loras::{Downloaded, LoraError, Loras},
    request,
    sdxl::Precision,
};
use serde_json::json;

use crate::props::{SECRET, Story, downloader, only, parse};

const FULL: &str = "diffusion_pytorch_model.safetensors";
const HALF: &str = "diffusion_pytorch_model.fp16.safetensors";

fn net(seed: u8) -> Vec<u8> {
    safetensors("controlnet_cond_embedding.conv_in.weight", 20_000, seed)
}

fn story(server: &HubServer, folder: &Path) -> std::sync::Arc<glimpse_worker::loras::Downloader> {
    let token = Token::new(SECRET);
    let options = HubOptions {
        token,
        tries: 2,
        pause: std::time::Duration::ZERO,
        ..HubOptions::new(server.endpoint(), "")
    };
    downloader(folder, only("127.0.0.1"), Some(options))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn server(files: &[(&str, Vec<u8>)]) -> HubServer {
    let server = HubServer::of("me/canny", tempfile::tempdir().unwrap().path());
    files.iter().for_each(|(name, file)| server.put(name, file));
    server
}

#[tokio::test]
async fn a_folder_of_the_hub_is_its_configuration_and_its_weights_of_one_precision() {
    let config = b"{}".to_vec();
    let server = server(&[
        ("config.json", config),
        (FULL, net(1)),
        (HALF, net(2)),
        ("diffusion_pytorch_model.bin", b"PK".to_vec()),
        ("README.md", b"#".to_vec()),
        ("other/x.safetensors", net(3)),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let loads = story(&server, folder.path());
    let path = parse("hf://me/canny");
    let full = loads.clone().controlnets(vec![path.clone()]).await.unwrap();
    let at = full.controlnet(&path).unwrap();
    assert_eq!(names(at), ["config.json", FULL].map(str::to_owned).into());
    assert_eq!(std::fs::read(at.join(FULL)).unwrap(), net(1));
    assert_eq!(full.file(&path), None, "it is no LoRA");
    server.requests();
    loads.controlnets(vec![path.clone()]).await.unwrap();
    assert_eq!(server.downloads(), Vec::<String>::new(), "it is kept");
    // Another precision, beside it.
    let half = story(&server, folder.path());
    let half = std::sync::Arc::into_inner(half).unwrap().of_precision(Precision::Half);
    let half = std::sync::Arc::new(half).controlnets(vec![path.clone()]).await.unwrap();
    assert_eq!(server.downloads(), [HALF]);
    assert_eq!(names(half.controlnet(&path).unwrap()), ["config.json", FULL, HALF].map(str::to_owned).into());
    // One file of it, and none.
    let loads = story(&server, folder.path());
    let file = parse("hf://me/canny/other/x.safetensors");
    let one = loads.clone().controlnets(vec![file.clone()]).await.unwrap();
    assert_eq!(std::fs::read(one.controlnet(&file).unwrap()).unwrap(), net(3));
    let none = loads.controlnets(vec![parse("hf://me/canny/none.safetensors")]).await.unwrap_err();
    assert!(matches!(&none, LoraError::Bad(why) if why.contains("no file none.safetensors")), "{none:?}");
}

#[tokio::test]
async fn what_is_not_a_controlnet_is_refused_and_a_damaged_one_downloaded_again() {
    let server = server(&[("config.json", b"{}".to_vec()), (FULL, lora(20_000, 1))]);
    let folder = tempfile::tempdir().unwrap();
    let loads = story(&server, folder.path());
    let path = parse("hf://me/canny");
    let why = loads.clone().controlnets(vec![path.clone()]).await.unwrap_err();
    assert!(matches!(&why, LoraError::Bad(why) if why.contains("is not a ControlNet: no tensor")), "{why:?}");
    server.put(FULL, &net(1));
    loads.clone().controlnets(vec![path.clone()]).await.unwrap();
    let blobs = folder.path().join("hub/models--me--canny/blobs");
    let sizes =
        |blobs: &Path| std::fs::read_dir(blobs).unwrap().map(|blob| blob.unwrap().path()).collect::<Vec<_>>();
    let blob = sizes(&blobs).into_iter().max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
    std::fs::write(blob, &net(1)[..9000]).unwrap();
    let again = loads.controlnets(vec![path.clone()]).await.unwrap();
    assert_eq!(std::fs::read(again.controlnet(&path).unwrap().join(FULL)).unwrap(), net(1));
}

#[tokio::test]
async fn a_controlnet_of_a_url_is_another_file_than_a_lora_of_it() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/x", [Answer::File(net(1)), Answer::File(lora(50, 1)), Answer::File(net(2))]);
    let url = server.url(&format!("/x?token={SECRET}"));
    let load = async |path: LoraPath| -> Result<Downloaded, LoraError> {
        story.downloader.clone().controlnets(vec![path]).await
    };
    let held = load(parse(&url)).await.unwrap();
    assert_eq!(std::fs::read(held.controlnet(&parse(&url)).unwrap()).unwrap(), net(1));
    story.hold(&url).await.unwrap();
    assert_eq!(server.requests().len(), 2);
    assert_eq!(story.files().len(), 2);
    load(parse(&url)).await.unwrap();
    assert_eq!(server.requests().len(), 0, "it is kept");
    server.on("/y", [Answer::File(lora(50, 1))]);
    let error = load(parse(&server.url("/y"))).await.unwrap_err().to_string();
    assert!(error.contains("is not a ControlNet") && !error.contains(SECRET), "{error}");
}

/// Embeddings come as LoRAs do: the vectors of both text encoders, or one tensor with the name of its word.
#[tokio::test]
async fn embeddings_are_downloaded_from_the_hub_and_from_urls() {
    let both = safetensors("clip_l", 64, 1);
    let word = safetensors("<kite>", 64, 2);
    let server = server(&[("learned_embeds.safetensors", both.clone())]);
    let folder = tempfile::tempdir().unwrap();
    let loads = story(&server, folder.path());
    let (hub, files) = (parse("hf://me/canny"), FileServer::start());
    files.on("/kite", [Answer::File(word.clone())]);
    let url = parse(&files.url("/kite"));
    let loaded = loads.clone().download(vec![hub.clone(), url.clone()]).await.unwrap();
    assert_eq!(std::fs::read(loaded.file(&hub).unwrap()).unwrap(), both);
    assert_eq!(std::fs::read(loaded.file(&url).unwrap()).unwrap(), word);
    files.on("/net", [Answer::File(net(1))]);
    let error = loads.download(vec![parse(&files.url("/net"))]).await.unwrap_err();
    assert!(error.to_string().contains("is neither a LoRA nor an embedding"), "{error}");
}

/// A picture of one pixel.
const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA\
                   AABJRU5ErkJggg==";

fn spec(path: &str) -> ImageSpec {
    let offer = Offer {
        native_width: 64,
        native_height: 64,
        max_pixels: 1 << 20,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: true,
    };
    let body = json!({ "prompt": "x", "controlnets": [{ "path": path, "image": PNG, "mode": 3 }] });
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    ImageSpec::check(body.as_object().unwrap().clone(), &offer, defaults).unwrap()
}

/// `OWNER/NAME` is the worker's folder if it has it, and else the repository.
#[tokio::test]
async fn a_request_gets_the_folder_or_the_repository() {
    let server = server(&[("config.json", b"{}".to_vec()), (FULL, net(1))]);
    let (cache, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let loras = Loras { downloader: Some(story(&server, cache.path())), ..Loras::default() };
    let folder = ControlNetDir::open(own.path()).unwrap();
    let spec = spec("me/canny");
    let downloaded = loras.download(&spec, Some(&folder)).unwrap().await.unwrap();
    let inputs = request::inputs(&spec, &loras, &downloaded, Some(&folder)).unwrap();
    let [control] = &inputs.controlnets[..] else { panic!("one") };
    assert_eq!((&control.name[..], control.mode), ("hf://me/canny", Some(3)));
    assert!(
        control.path.starts_with(cache.path().canonicalize().unwrap()) && control.path.join(FULL).is_file()
    );
    std::fs::create_dir_all(own.path().join("me/canny")).unwrap();
    assert!(loras.download(&spec, Some(&folder)).is_none());
    let inputs = request::inputs(&spec, &loras, &Downloaded::default(), Some(&folder)).unwrap();
    assert!(inputs.controlnets[0].path.ends_with("me/canny"));
    // A worker without downloads and without the folder never has such a job.
    assert!(request::inputs(&spec, &Loras::default(), &Downloaded::default(), None).is_err());
}
