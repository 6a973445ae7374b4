//! Safetensors files, memory-mapped: one, or the shards of one component.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};

use super::precision::Precision;
use crate::sdxl::error::LoadError;

/// A mapped file with its parsed header.
struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    data: usize,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.clone(), source };
        let file = File::open(&path).map_err(unreadable)?;
        // SAFETY: the mapping is read-only and private to this process. Another process that shortens
        // the file while weights are being copied out of it could end this one with SIGBUS; model files
        // are written once, and each tensor is copied to the device before the load returns.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let (length, header) = SafeTensors::read_metadata(&map).map_err(|e| LoadError::Malformed {
            path: path.clone(),
            message: format!("not a whole safetensors file (is it cut?): {e:?}"),
        })?;
        Ok(Self { path, map, header, data: length + 8 })
    }
}

/// Files that together hold tensors by name.
pub struct Shards {
    shards: Vec<Shard>,
    /// The file, or the folder if there are several.
    path: PathBuf,
    index: BTreeMap<String, usize>,
}

impl Shards {
    /// Opens one file.
    ///
    /// # Errors
    /// If it is not there, cut or not safetensors.
    pub fn open(file: &Path) -> Result<Self, LoadError> {
        if !file.is_file() {
            return Err(LoadError::Missing { path: file.into(), what: "weights" });
        }
        Ok(Self::of(file.into(), vec![Shard::open(file.into())?]))
    }

    /// Opens `STEM.safetensors` or `STEM.fp16.safetensors` in `folder`, or the shards that
    /// `STEM.safetensors.index.json` or `STEM.safetensors.index.fp16.json` lists.
    ///
    /// # Errors
    /// If there is none of them, or a file is cut or not safetensors.
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
                        return Err(LoadError::Missing { path, what: "a shard that the index file lists" });
                    }
                    shards.push(Shard::open(path)?);
                }
                return Ok(Self::of(folder.into(), shards));
            }
        }
        Err(LoadError::Missing { path: folder.join(format!("{stem}.safetensors")), what: "weights" })
    }

    fn of(path: PathBuf, shards: Vec<Shard>) -> Self {
        let mut index = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            index.extend(shard.header.tensors().into_keys().map(|name| (name, number)));
        }
        Self { shards, path, index }
    }

    /// The file, or the folder if there are several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names that begin like that, in order.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let from = self.index.range(prefix.to_owned()..);
        from.map(|(name, _)| name.as_str()).take_while(move |name| name.starts_with(prefix))
    }

    /// Whether a name begins like that.
    pub fn has_any(&self, prefix: &str) -> bool {
        self.names(prefix).next().is_some()
    }

    /// The shape of a tensor of floating-point numbers; `None` if there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let (_, info) = self.info(name)?;
        is_float(info).then_some(info.shape.as_slice())
    }

    /// Where a tensor is and what it is, for complaints.
    pub(super) fn describe(&self, name: &str) -> Option<String> {
        let (shard, info) = self.info(name)?;
        Some(format!("{:?} of {:?} in {}", info.shape, info.dtype, shard.path.display()))
    }

    /// Texts that the first file carries beside its tensors.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let texts = self.shards.first().and_then(|shard| shard.header.metadata().clone());
        texts.unwrap_or_default().into_iter().collect()
    }

    /// A copy of a tensor on the device, as it is stored.
    ///
    /// # Errors
    /// If there is none of that name, or of a shape beyond all memory, or the device fails.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor, LoadError> {
        let Some((shard, info)) = self.info(name) else {
            return Err(LoadError::Malformed {
                path: self.path.clone(),
                message: format!("no tensor {name}"),
            });
        };
        // Without any numbers there may be axes of any length, of which the library makes a product all the same.
        if info.shape.iter().try_fold(1_usize, |all, axis| all.checked_mul((*axis).max(1))).is_none() {
            let message = format!("{name} cannot be of shape {:?}", info.shape);
            return Err(LoadError::Malformed { path: self.path.clone(), message });
        }
        let (start, end) = info.data_offsets;
        let dtype = DType::try_from(info.dtype)?;
        // The header was checked against the file's length when it was read.
        let bytes = &shard.map[shard.data + start..shard.data + end];
        Ok(Tensor::from_raw_buffer(bytes, dtype, &info.shape, device)?)
    }

    fn info(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let shard = &self.shards[*self.index.get(name)?];
        Some((shard, shard.header.info(name)?))
    }
}

/// Whether it has floating-point numbers that can be computed with: candle stores some that it cannot convert.
fn is_float(info: &TensorInfo) -> bool {
    use DType::{BF16, F8E4M3, F16, F32, F64};
    matches!(DType::try_from(info.dtype), Ok(F64 | F32 | F16 | BF16 | F8E4M3))
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file names in an index, each once.
fn shard_names(list: &Path) -> Result<BTreeSet<String>, LoadError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(list)
        .map_err(|source| LoadError::Unreadable { path: list.into(), source })?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| LoadError::Malformed { path: list.into(), message: e.to_string() })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // An index is data from elsewhere: it names files beside it, nothing further away.
    match names.iter().find(|n| Path::new(n).file_name() != Some(n.as_ref())) {
        Some(name) => {
            Err(LoadError::Malformed { path: list.into(), message: format!("{name:?} is not a file name") })
        }
        None => Ok(names),
    }
}
