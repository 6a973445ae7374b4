//! Which files are downloaded, and that they are the model's.

use std::{fs, path::Path};

use glimpse_test_support::COMMIT;
use glimpse_worker::{
    hub::{self, ModelKind, Token},
    sdxl::Precision,
};

use super::props::{Story, UNET, demo, names, picture};

#[test]
fn a_downloaded_model_equals_its_folder() {
    let story = Story::new();
    let folder = story.resolve().unwrap();
    let mut wanted = names(&demo());
    for other in ["README.md", "sheet.png", "sheet_shapes.png"] {
        assert!(wanted.remove(other), "the demo has more than the loader reads");
    }
    assert_eq!(names(&folder), wanted);
    for name in &wanted {
        assert!(fs::read(folder.join(name)).unwrap() == fs::read(demo().join(name)).unwrap(), "{name}");
    }
    assert!(picture(&folder, None) == picture(&demo(), None));
}

#[test]
fn equal_files_are_downloaded_once() {
    let story = Story::new();
    story.resolve().unwrap();
    let downloads = story.server.downloads();
    assert!(downloads.contains(&"tokenizer/vocab.json".into()), "{downloads:?}");
    assert!(!downloads.contains(&"tokenizer_2/vocab.json".into()), "{downloads:?}");
    assert_eq!(downloads.len(), story.kept("blobs").len());
}

#[test]
fn one_precision_is_downloaded() {
    let story = Story::new();
    let half = UNET.replace(".safetensors", ".fp16.safetensors");
    for other in
        ["unet/diffusion_pytorch_model.bin", "unet/model.onnx", "sdxl.safetensors", "flax_model.msgpack"]
    {
        story.server.put(other, b"not to be fetched");
    }
    story.server.put(&half, b"half of it");
    let folder = story.resolve_as("glimpse/demo", Precision::Half).unwrap();
    let downloads = story.server.downloads();
    assert!(downloads.contains(&half) && !downloads.contains(&UNET.into()), "{downloads:?}");
    assert!(downloads.contains(&"vae/diffusion_pytorch_model.safetensors".into()), "it has no other");
    assert_eq!(fs::read(folder.join(&half)).unwrap(), b"half of it");
    // The other precision downloads only the files that are still missing.
    assert_eq!(story.resolve().unwrap(), folder);
    assert_eq!(story.server.downloads(), [UNET]);
}

#[test]
fn a_taesd_is_two_files() {
    let story = Story::of("madebyollin/taesdxl", &demo().join("taesd"));
    story.server.put("diffusion_pytorch_model.bin", b"not to be fetched");
    story.server.put("taesdxl_decoder.safetensors", b"not to be fetched");
    let named = Path::new("madebyollin/taesdxl");
    let taesd = hub::resolve(named, ModelKind::Autoencoder, Precision::Full, &story.options).unwrap();
    assert_eq!(story.server.downloads(), ["config.json", "diffusion_pytorch_model.safetensors"]);
    assert!(picture(&demo(), Some(taesd)) == picture(&demo(), None));
}

#[test]
fn a_model_without_a_taesd_is_downloaded() {
    let story = Story::new();
    for file in ["taesd/config.json", "taesd/diffusion_pytorch_model.safetensors"] {
        story.server.remove(file);
    }
    let folder = story.resolve().unwrap();
    assert!(folder.join("model_index.json").is_file() && !folder.join("taesd").exists());
}

#[test]
fn a_revision_is_a_branch_or_a_commit() {
    let story = Story::new();
    let folder = story.resolve_as("glimpse/demo@refs/pr/1", Precision::Full).unwrap();
    assert_eq!(story.kept("refs"), ["refs/pr/1".to_owned()].into());
    story.server.requests();
    // A commit never changes, so no request is needed.
    assert_eq!(story.resolve_as(&format!("glimpse/demo@{COMMIT}"), Precision::Full).unwrap(), folder);
    assert_eq!(story.server.requests(), []);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let mut story = Story::new();
    story.options.token = Token::new("hf_secret");
    story.resolve().unwrap();
    let (cdn, hub): (Vec<_>, Vec<_>) = story.server.requests().into_iter().partition(|asked| asked.cdn);
    assert!(!hub.is_empty() && !cdn.is_empty());
    assert!(hub.iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")), "{hub:?}");
    assert!(cdn.iter().all(|asked| asked.authorization.is_none()), "{cdn:?}");
}

#[test]
fn a_path_is_not_an_id() {
    let story = Story::new();
    let here = tempfile::tempdir_in(".").unwrap();
    let (folder, _) = (here.path().file_name().unwrap(), fs::create_dir(here.path().join("demo")).unwrap());
    let there = Path::new(folder).join("demo");
    for path in ["./glimpse/demo", "models/sdxl.safetensors", "demo", "a/b/c"].map(Path::new) {
        let path = hub::resolve(path, ModelKind::Pipeline, Precision::Full, &story.options);
        assert!(path.is_ok_and(|path| !path.starts_with(story.cache.path())));
    }
    // An existing folder is used, even if its name looks like an id.
    let found = hub::resolve(&there, ModelKind::Pipeline, Precision::Full, &story.options);
    assert_eq!(found.unwrap(), there);
    assert_eq!(story.server.requests(), []);
}
