//! The safetensors files of one component: one file or several shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorInfo};

use super::file::TensorFile;
use super::numbers;
use super::precision::Precision;
use super::random::RandomWeights;
use crate::sdxl::error::{LoadError, Shown};
use crate::sdxl::foreign;

/// One or several files with tensors by name.
pub struct Shards {
    shards: Vec<TensorFile>,
    /// The file, or the folder if there are several.
    path: PathBuf,
    index: BTreeMap<String, usize>,
    random: Option<RandomWeights>,
}

impl Shards {
    /// Opens one file.
    ///
    /// # Errors
    /// If it is missing, truncated or not safetensors.
    pub fn open(file: &Path) -> Result<Self, LoadError> {
        if !file.is_file() {
            return Err(foreign::not_a_file(file, "a file with weights"));
        }
        Ok(Self::of(file.into(), vec![TensorFile::open(file.into())?]))
    }

    /// Opens `STEM.safetensors` or `STEM.fp16.safetensors` in `folder`, or the shards that
    /// `STEM.safetensors.index.json` or `STEM.safetensors.index.fp16.json` lists.
    ///
    /// # Errors
    /// If none of them exists, or a file is truncated or not safetensors.
    pub fn find(folder: &Path, stem: &str, precision: Precision) -> Result<Self, LoadError> {
        let mut kinds = ["", ".fp16"];
        if precision == Precision::Half {
            kinds.reverse();
        }
        for kind in kinds {
            let single = folder.join(format!("{stem}{kind}.safetensors"));
            if single.is_file() {
                return Self::open(&single);
            }
            let list = folder.join(format!("{stem}.safetensors.index{kind}.json"));
            if list.is_file() {
                let mut shards = Vec::new();
                for name in shard_names(&list)? {
                    let path = folder.join(name);
                    if !path.is_file() {
                        return Err(foreign::not_a_file(&path, "a shard that the index file lists"));
                    }
                    shards.push(TensorFile::open(path)?);
                }
                return Ok(Self::of(folder.into(), shards));
            }
        }
        Err(absent(folder, stem))
    }

    fn of(path: PathBuf, shards: Vec<TensorFile>) -> Self {
        let mut index = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            index.extend(shard.header().tensors().into_keys().map(|name| (name, number)));
        }
        Self { shards, path, index, random: None }
    }

    /// No files: every tensor that a model asks for is drawn from this seed. For measurements without a checkpoint.
    pub fn random(seed: u64) -> Self {
        Self { random: Some(RandomWeights::new(seed)), ..Self::of("random weights".into(), Vec::new()) }
    }

    /// The source of random tensors, if there are no files.
    pub(super) fn random_weights(&self) -> Option<&RandomWeights> {
        self.random.as_ref()
    }

    /// Whether the tensors are random.
    pub fn is_random(&self) -> bool {
        self.random.is_some()
    }

    /// The file, or the folder if there are several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All files, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        self.shards.iter().map(|shard| shard.path().to_owned()).collect()
    }

    /// The names that start with `prefix`, in order.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let from = self.index.range(prefix.to_owned()..);
        from.map(|(name, _)| name.as_str()).take_while(move |name| name.starts_with(prefix))
    }

    /// Whether a name starts with `prefix`.
    pub fn has_any(&self, prefix: &str) -> bool {
        self.names(prefix).next().is_some()
    }

    /// Whether there is a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The shape of a tensor; `None` if it does not exist.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|(_, info)| info.shape.as_slice())
    }

    /// The dtype of a tensor; `None` if it does not exist.
    pub(super) fn kind(&self, name: &str) -> Option<Dtype> {
        self.info(name).map(|(_, info)| info.dtype)
    }

    /// Whether a tensor looks like a weight. Marks and counters are scalars, and indices are integers.
    pub(super) fn is_weight(&self, name: &str) -> bool {
        self.info(name).is_some_and(|(_, info)| !info.shape.is_empty() && numbers::is_float(info.dtype))
    }

    /// Size of a tensor in its file, in bytes.
    pub(super) fn size(&self, name: &str) -> u64 {
        self.info(name).map_or(0, |(_, info)| (info.data_offsets.1 - info.data_offsets.0) as u64)
    }

    /// Shape, dtype and file of a tensor, for error messages.
    pub(super) fn describe(&self, name: &str) -> Option<String> {
        let (shard, info) = self.info(name)?;
        Some(format!("{:?} of {:?} in {}", info.shape, info.dtype, shard.path().display()))
    }

    /// The metadata of all files. If files have the same key, the first one counts.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (key, text) in self.shards.iter().filter_map(|shard| shard.header().metadata().clone()).flatten()
        {
            all.entry(key).or_insert(text);
        }
        all
    }

    /// Reads the bytes of a tensor into `buffer`, and returns their dtype.
    ///
    /// # Errors
    /// If the tensor does not exist, its number of elements overflows, or the file cannot be read or has changed.
    pub(super) fn read(&self, name: &str, buffer: &mut Vec<u8>) -> Result<Dtype, LoadError> {
        let malformed = |message: String| LoadError::Malformed { path: self.path.clone(), message };
        let (shard, info) = self.info(name).ok_or_else(|| malformed(format!("no tensor {}", Shown(name))))?;
        // A tensor with an axis of length 0 may have other axes of any length, whose product can overflow.
        if info.shape.iter().try_fold(1_usize, |all, axis| all.checked_mul((*axis).max(1))).is_none() {
            return Err(malformed(format!("{} cannot be of shape {:?}", Shown(name), info.shape)));
        }
        shard.read(info, buffer)?;
        Ok(info.dtype)
    }

    fn info(&self, name: &str) -> Option<(&TensorFile, &TensorInfo)> {
        let shard = &self.shards[*self.index.get(name)?];
        Some((shard, shard.header().info(name)?))
    }
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file names in an index.
fn shard_names(list: &Path) -> Result<BTreeSet<String>, LoadError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let missing = || LoadError::Missing { path: list.into(), what: "the index of the shards" };
    let text = foreign::read_text(list)?.ok_or_else(missing)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| LoadError::Malformed { path: list.into(), message: e.to_string() })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // The index is untrusted: it may only name files in its own folder.
    match names.iter().find(|n| Path::new(n).file_name() != Some(n.as_ref())) {
        Some(name) => {
            Err(LoadError::Malformed { path: list.into(), message: format!("{name:?} is not a file name") })
        }
        None => Ok(names),
    }
}

/// The error for a folder without the file `stem`.
fn absent(folder: &Path, stem: &str) -> LoadError {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let with = |endings: &[&str]| {
        let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        names.iter().find(|name| ending(name).is_some_and(|ending| endings.contains(&ending.as_str())))
    };
    let message = if let Some(name) = with(&["safetensors"]) {
        format!("has no {stem}.safetensors, but {}: if it has these weights, rename it", Shown(name))
    } else if let Some(name) = with(&["bin", "pt", "pth", "ckpt", "pkl"]) {
        format!("has no .safetensors file, only {}, {}", Shown(name), foreign::PICKLE)
    } else {
        return LoadError::Missing { path: folder.join(format!("{stem}.safetensors")), what: "weights" };
    };
    LoadError::Malformed { path: folder.into(), message }
}
