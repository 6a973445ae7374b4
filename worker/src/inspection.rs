//! Looks at a model's files without loading them: whether each is there and whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    hub::HubId,
    sdxl::{LoadError, Precision, Shards, not_a_file},
};

/// How deep below a model's folder its files lie.
const DEPTH: usize = 3;

/// The weights of a model in the diffusers layout: folder, and name without ending.
const WEIGHTS: [(&str, &str); 4] = [
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
    ("text_encoder_2", "model"),
    ("text_encoder", "model"),
];

/// What was found.
#[derive(Debug, Default)]
pub struct Inspected {
    /// The number of files that were read.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether the model's folder has a TAESD.
    pub has_taesd: bool,
    /// What is wrong, a file each.
    pub faults: Vec<LoadError>,
}

/// Whether `named` is not here and can only be a name on the Hugging Face Hub.
pub fn is_on_the_hub(named: &Path) -> bool {
    !named.exists() && HubId::parse(named).is_some()
}

/// Looks at a model: a folder in the diffusers layout, or a single file. Reads the headers of weights and all JSON
/// files, so that a file that is cut or is no such file is found. Whether the tensors fit together shows only a load.
pub fn inspect(model: &Path) -> Inspected {
    let mut found = Inspected::default();
    if model.is_file() {
        found.weights(model);
        return found;
    }
    if !model.is_dir() {
        found.faults.push(not_a_file(model, "a model: a folder in the diffusers layout, or a single file"));
        return found;
    }
    for file in files(model, DEPTH) {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => found.weights(&file),
            Some("json") => found.json(&file),
            _ => {}
        }
    }
    found.components(model);
    found.has_taesd = model.join("taesd").is_dir();
    found
}

impl Inspected {
    fn weights(&mut self, file: &Path) {
        self.count(file);
        self.faults.extend(Shards::open(file).err());
    }

    fn json(&mut self, file: &Path) {
        self.count(file);
        let path = file.to_owned();
        let fault = match fs::read(file) {
            Err(source) => Some(LoadError::Unreadable { path, source }),
            Ok(text) => serde_json::from_slice::<serde::de::IgnoredAny>(&text).err().map(|error| {
                let message = format!("not a whole JSON file: {error}; download it again");
                LoadError::Malformed { path, message }
            }),
        };
        self.faults.extend(fault);
    }

    /// Finds the components that are missing.
    fn components(&mut self, model: &Path) {
        let index = model.join("model_index.json");
        let Ok(text) = fs::read_to_string(&index) else {
            self.faults.push(not_a_file(&index, "a model in the diffusers layout"));
            return;
        };
        // A refiner has no first text encoder. What is wrong with the JSON was found before.
        let lacks = |component: &str| {
            let index: Result<serde_json::Value, _> = serde_json::from_str(&text);
            index.is_ok_and(|index| index[component] == serde_json::json!([null, null]))
        };
        for (folder, stem) in WEIGHTS.into_iter().filter(|(folder, _)| !lacks(folder)) {
            if let Err(missing) = Shards::find(&model.join(folder), stem, Precision::Half)
                && !self.faults.iter().any(|fault| fault.to_string() == missing.to_string())
            {
                self.faults.push(missing);
            }
        }
        let tokenizers = ["tokenizer", "tokenizer_2"].into_iter().filter(|folder| !lacks(folder));
        for file in tokenizers.flat_map(|folder| ["vocab.json", "merges.txt"].map(|name| (folder, name))) {
            let path = model.join(file.0).join(file.1);
            if !path.is_file() {
                self.faults.push(not_a_file(&path, "the words of a tokenizer"));
            }
        }
    }

    fn count(&mut self, file: &Path) {
        self.files += 1;
        self.bytes += fs::metadata(file).map_or(0, |file| file.len());
    }
}

/// The files below a folder, sorted. A folder that cannot be read has none: what it should have is then missing.
fn files(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| match (path.is_dir(), depth) {
        (true, 0) => Vec::new(),
        (true, _) => files(&path, depth - 1),
        (false, _) => vec![path],
    };
    paths.into_iter().flat_map(below).collect()
}
