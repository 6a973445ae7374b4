//! A copy of a checkpoint, in which a test damages one file at a time.

use std::{
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use glimpse_test_support::fuzz;
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, PreviewKind, SdxlPipeline};
use proptest::test_runner::TestCaseError;
use tempfile::TempDir;

use crate::support::parity;

/// The memory of a load besides the files, in bytes: tokenizers, names, and errors about some thousand tensors.
const BASE: usize = 24 << 20;
/// The memory per byte of a file. Numbers of 16 bits become 32 bits, and one character of JSON becomes a value of 32
/// bytes in a list that doubles when it grows.
const PER_BYTE: usize = 100;

/// The fixtures' checkpoint, linked into a new folder: in the diffusers layout, or as a single file with the
/// configuration beside it.
pub(crate) struct Copy {
    folder: TempDir,
    options: LoadOptions,
    files: u64,
}

impl Copy {
    /// A folder in the diffusers layout.
    pub(crate) fn folder() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = link(&parity().join("model"), folder.path());
        files += link(&parity().join("taesdxl"), &folder.path().join("taesd"));
        let options = LoadOptions::cpu(folder.path());
        Self { folder, options, files }
    }

    /// A single file, and a TAESD in its original file.
    pub(crate) fn single() -> Self {
        let Self { folder, options, mut files } = Self::folder();
        let variants = parity().join("variants");
        let model = folder.path().join("model.safetensors");
        files += fs::copy(variants.join("model.safetensors"), &model).expect("copied");
        let taesd = folder.path().join("original");
        files += link(&variants.join("taesdxl"), &taesd);
        let config = Some(folder.path().into());
        Self { folder, options: LoadOptions { model, config, taesd: Some(taesd), ..options }, files }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).expect("a file")
    }

    /// Loads the checkpoint with other bytes in one file, and makes a picture if it loads. Returns `None`, or the
    /// error, which must name a file.
    pub(crate) fn load_with(
        &self,
        case: &impl Debug,
        file: &str,
        bytes: &[u8],
    ) -> Result<Option<String>, TestCaseError> {
        let _own = Damaged::new(self.path(file), bytes);
        let most = BASE + PER_BYTE * bytes.len() + 4 * self.files as usize;
        let loaded = fuzz::within(case, most, || match SdxlPipeline::load(self.options.clone()) {
            Ok(pipeline) => {
                make(&pipeline);
                None
            }
            Err(error) => Some(error.to_string()),
        });
        if let Some(error) = &loaded {
            let folder = self.folder.path().to_string_lossy();
            proptest::prop_assert!(error.contains(&*folder), "names no file: {error:.300}");
        }
        Ok(loaded)
    }
}

/// A file with other bytes; its own bytes are restored on drop.
struct Damaged {
    path: PathBuf,
    own: PathBuf,
}

impl Damaged {
    fn new(path: PathBuf, bytes: &[u8]) -> Self {
        let own = path.with_extension("own");
        fs::rename(&path, &own).expect("renamed");
        fs::write(&path, bytes).expect("written");
        Self { path, own }
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        fs::rename(&self.own, &self.path).expect("renamed");
    }
}

/// Makes one small picture, as a worker's warm-up. It may fail.
pub(crate) fn make(pipeline: &SdxlPipeline) {
    let multiple = pipeline.describe().multiple.clamp(1, 64);
    let side = 32_u32.next_multiple_of(multiple);
    let mut inputs = Inputs::new("a fox", side, side);
    inputs.num_inference_steps = 2;
    let Ok(mut denoising) = pipeline.begin(&inputs) else { return };
    while !pipeline.progress(&denoising).is_done() {
        if pipeline.step(&mut [&mut denoising]).is_err() {
            return;
        }
    }
    let _ = pipeline.preview(&denoising, PreviewKind::Denoised);
    let _ = pipeline.finish(denoising);
}

/// Links all files except those of half precision, and returns their size in bytes.
fn link(from: &Path, to: &Path) -> u64 {
    fs::create_dir_all(to).expect("a folder");
    let mut bytes = 0;
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            bytes += link(&path, &to);
        } else if !path.to_string_lossy().contains(".fp16.") {
            std::os::unix::fs::symlink(&path, to).expect("linked");
            bytes += entry.metadata().expect("a file").len();
        }
    }
    bytes
}
