//! Files that are changed while they are in use.

#[cfg(test)]
mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use candle_core::Tensor;
use glimpse_worker::pipeline::{LoadOptions, PipelineError, SdxlPipeline};
use glimpse_worker::sdxl::{LoadError, ReadError, Shards};
use support::parity;
use tempfile::TempDir;

const NAME: &str = "decoder.conv_in.weight";

/// A copy of a file, with a modification time one hour ago.
#[cfg(test)]
fn copy(of: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    fs::copy(of, &path).expect("copied");
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    OpenOptions::new().write(true).open(&path).and_then(|f| f.set_modified(hour_ago)).expect("an old file");
    (folder, path)
}

#[cfg(test)]
fn vae() -> PathBuf {
    parity().join("model/vae/diffusion_pytorch_model.safetensors")
}

#[cfg(test)]
fn numbers(shards: &Shards) -> Vec<f32> {
    let tensor = shards.tensor(NAME).unwrap_or_else(|e| panic!("{e:?}"));
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

#[test]
fn a_file_that_is_truncated_or_overwritten_while_it_is_read_is_named() {
    let cut = |path: &Path| OpenOptions::new().write(true).open(path)?.set_len(20_000);
    let emptied = |path: &Path| File::create(path).map(drop);
    let overwritten = |path: &Path| {
        let bytes = vec![0x3C; fs::read(path)?.len()];
        OpenOptions::new().write(true).open(path)?.write_all(&bytes)
    };
    type FileChange = dyn Fn(&Path) -> std::io::Result<()>;
    let changes: [&FileChange; 3] = [&cut, &emptied, &overwritten];
    for (i, change) in changes.iter().enumerate() {
        let (_folder, path) = copy(&vae());
        let shards = Shards::open(&path).expect("opens");
        numbers(&shards);
        change(&path).expect("changed");
        let error = shards.tensor(NAME).expect_err("changed");
        let ReadError::Load(error @ LoadError::Changed { .. }) = error else { panic!("{i}: {error:?}") };
        let message = error.to_string();
        assert!(message.contains("weights.safetensors") && message.contains("has changed"), "{message}");
    }
}

#[test]
fn a_file_that_is_replaced_by_a_rename_is_still_read() {
    let (folder, path) = copy(&vae());
    let shards = Shards::open(&path).expect("opens");
    let before = numbers(&shards);
    let other = folder.path().join("other");
    fs::write(&other, b"something else").expect("written");
    fs::rename(&other, &path).expect("renamed");
    assert!(numbers(&shards) == before);
    fs::remove_file(&path).expect("removed");
    assert!(numbers(&shards) == before);
}

/// A VAE overflows and is loaded again, but its file has changed.
#[test]
fn a_vae_that_has_changed_since_its_load_is_a_fault_that_names_no_folder() {
    let (folder, path) = copy(&vae());
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    fs::rename(&path, &weights).expect("renamed");
    let mut config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(parity().join("model/vae/config.json")).expect("a file"))
            .expect("JSON");
    config["force_upcast"] = false.into();
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let pipeline = SdxlPipeline::load(LoadOptions {
        vae: Some(folder.path().into()),
        taesd: Some(parity().join("taesdxl")),
        dtype: candle_core::DType::F16,
        ..LoadOptions::cpu(parity().join("model"))
    })
    .expect("loads");
    OpenOptions::new().write(true).open(&weights).and_then(|f| f.set_len(100)).expect("cut");
    // Beyond the range of float16.
    let latents = Tensor::full(1e30_f32, (1, 4, 8, 8), &candle_core::Device::Cpu).expect("latents");
    let error = pipeline.decode(&latents).expect_err("a fault");
    assert!(matches!(error, PipelineError::Fault { .. }), "{error}");
    let place = folder.path().to_string_lossy().into_owned();
    assert!(error.to_string().contains("VAE") && !error.to_string().contains(&place), "{error}");
}
