//! The safetensors files of one component: which file, memory-mapped, and each tensor by name and shape.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};

use super::error::{LoadError, WeightReport};

/// Which of a component's files to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The float32 file; the float16 one if there is no other.
    #[default]
    Full,
    /// The float16 file; the float32 one if there is no other.
    Half,
}

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

    fn load(&self, info: &TensorInfo, device: &Device) -> Result<Tensor, LoadError> {
        let (start, end) = info.data_offsets;
        let dtype = DType::try_from(info.dtype)?;
        // The header was checked against the file's length when it was read.
        Ok(Tensor::from_raw_buffer(
            &self.map[self.data + start..self.data + end],
            dtype,
            &info.shape,
            device,
        )?)
    }
}

/// All tensors of one component, and a record of which were asked for.
pub struct WeightFiles {
    shards: Vec<Shard>,
    /// The file, or the folder if there are several.
    path: PathBuf,
    index: BTreeMap<String, usize>,
    device: Device,
    dtype: DType,
    asked: RefCell<BTreeSet<String>>,
    report: RefCell<WeightReport>,
}

impl WeightFiles {
    /// Opens `STEM.safetensors` or `STEM.fp16.safetensors` in `folder`, or the shards that
    /// `STEM.safetensors.index.json` or `STEM.safetensors.index.fp16.json` lists.
    ///
    /// # Errors
    /// If there is none of them, or a file is cut or not safetensors.
    pub fn open(
        folder: &Path,
        stem: &str,
        precision: Precision,
        dtype: DType,
        device: &Device,
    ) -> Result<Rc<Self>, LoadError> {
        let mut kinds = [("", ""), (".fp16", ".fp16")];
        if precision == Precision::Half {
            kinds.reverse();
        }
        for (file_kind, index_kind) in kinds {
            let single = folder.join(format!("{stem}{file_kind}.safetensors"));
            if single.is_file() {
                return Self::of(single.clone(), vec![Shard::open(single)?], dtype, device);
            }
            let list = folder.join(format!("{stem}.safetensors.index{index_kind}.json"));
            if list.is_file() {
                let mut shards = Vec::new();
                for name in shard_names(&list)? {
                    let path = folder.join(name);
                    if !path.is_file() {
                        return Err(LoadError::Missing { path, what: "a shard that the index file lists" });
                    }
                    shards.push(Shard::open(path)?);
                }
                return Self::of(folder.into(), shards, dtype, device);
            }
        }
        Err(LoadError::Missing { path: folder.join(format!("{stem}.safetensors")), what: "weights" })
    }

    fn of(path: PathBuf, shards: Vec<Shard>, dtype: DType, device: &Device) -> Result<Rc<Self>, LoadError> {
        let mut index = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for name in shard.header.tensors().into_keys() {
                index.insert(name, number);
            }
        }
        let report = WeightReport { file: path.clone(), ..WeightReport::default() };
        Ok(Rc::new(Self {
            shards,
            path,
            index,
            device: device.clone(),
            dtype,
            asked: RefCell::default(),
            report: RefCell::new(report),
        }))
    }

    /// The names below the root of the component.
    pub fn root(self: &Rc<Self>) -> Vars {
        Vars { files: Rc::clone(self), prefix: String::new() }
    }

    /// Whether a name begins like that.
    pub fn has_any(&self, prefix: &str) -> bool {
        self.index.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// Ends the load: every tensor of the files must have been asked for, except those that `ignored`
    /// names.
    ///
    /// # Errors
    /// With everything that was missing, mis-shaped or never asked for.
    pub fn finish(&self, ignored: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let asked = self.asked.borrow();
        let mut report = self.report.borrow().clone();
        report.unexpected =
            self.index.keys().filter(|n| !asked.contains(*n) && !ignored(n)).cloned().collect();
        if report.is_empty() { Ok(()) } else { Err(LoadError::Weights(report)) }
    }

    fn get(&self, name: String, shape: &[usize]) -> Result<Tensor, LoadError> {
        // A stand-in of the right shape without memory behind it: the load goes on, so that the report
        // lists everything, and `finish` fails.
        let stand_in = || -> Result<Tensor, LoadError> {
            Ok(Tensor::zeros((), self.dtype, &self.device)?.broadcast_as(shape)?)
        };
        self.asked.borrow_mut().insert(name.clone());
        let Some(shard) = self.index.get(&name).map(|number| &self.shards[*number]) else {
            self.report.borrow_mut().missing.push(name);
            return stand_in();
        };
        let Some(info) = shard.header.info(&name) else {
            return Err(LoadError::Malformed {
                path: shard.path.clone(),
                message: format!("no tensor {name}"),
            });
        };
        let float = matches!(DType::try_from(info.dtype), Ok(d) if d.is_float());
        if info.shape != shape || !float {
            let found = format!("{:?} of {:?} in {}", info.shape, info.dtype, shard.path.display());
            self.report.borrow_mut().mismatched.push((name, shape.to_vec(), found));
            return stand_in();
        }
        Ok(shard.load(info, &self.device)?.to_dtype(self.dtype)?)
    }
}

impl std::fmt::Debug for WeightFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightFiles").field("path", &self.path).finish_non_exhaustive()
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

/// A place in a component's tree of names, as `down_blocks.0.resnets.1`.
#[derive(Debug, Clone)]
pub struct Vars {
    files: Rc<WeightFiles>,
    prefix: String,
}

impl Vars {
    /// The place one name further down.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        let prefix =
            if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { files: Rc::clone(&self.files), prefix }
    }

    /// The tensor `name` here, in the type and on the device of the load. One that is missing or has
    /// another shape goes into the report of [`WeightFiles::finish`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.files.get(self.at(name).prefix, shape)
    }
}
