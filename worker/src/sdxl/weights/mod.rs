//! The tensors of one component, by diffusers' names.

mod contents;
mod fault;
mod file;
mod header;
mod naming;
mod numbers;
mod precision;
mod progress;
mod quantised;
mod random;
mod reading;
mod shard;
mod weight;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

pub use naming::{Naming, Stored, View};
pub use precision::Precision;
pub use reading::ReadError;
pub use shard::Shards;
pub use weight::{ModuleWeights, Weight};

use self::progress::LoadProgress;
use self::reading::Target;
use super::error::{LoadError, WeightReport};

/// The most tensors in a report. SDXL's largest component has fewer.
const MOST_WRONG: usize = 4096;

/// The tensors of one component. Records which of them were requested.
#[derive(Debug)]
pub struct WeightFiles {
    shards: Rc<Shards>,
    naming: Naming,
    device: Device,
    dtype: DType,
    asked: RefCell<BTreeSet<String>>,
    report: RefCell<WeightReport>,
    /// By module, such as `mid_block.resnets.0.conv1`.
    modules: RefCell<BTreeMap<String, ModuleWeights>>,
    /// Those and all others that can move to another device.
    movable: RefCell<Vec<Weight>>,
    /// The bytes of the newest tensor.
    buffer: RefCell<Vec<u8>>,
    loading: OnceCell<LoadProgress>,
}

impl WeightFiles {
    /// Opens the component's file or shards in a folder of the diffusers layout; see [`Shards::find`].
    ///
    /// # Errors
    /// If there is no file, or a file is truncated or not safetensors.
    pub fn open(
        folder: &Path,
        stem: &str,
        precision: Precision,
        dtype: DType,
        device: &Device,
    ) -> Result<Rc<Self>, LoadError> {
        let shards = Rc::new(Shards::find(folder, stem, precision)?);
        Ok(Self::new(shards, Naming::diffusers(), dtype, device))
    }

    /// A component in opened files, with their naming. The files may have other components too.
    pub fn new(shards: Rc<Shards>, naming: Naming, dtype: DType, device: &Device) -> Rc<Self> {
        let report = WeightReport { file: shards.path().into(), ..WeightReport::default() };
        Rc::new(Self {
            shards,
            naming,
            device: device.clone(),
            dtype,
            asked: RefCell::default(),
            report: RefCell::new(report),
            modules: RefCell::default(),
            movable: RefCell::default(),
            buffer: RefCell::default(),
            loading: OnceCell::new(),
        })
    }

    /// Logs the start and the progress of the load under this name.
    #[must_use]
    pub fn logged_as(self: Rc<Self>, component: &'static str) -> Rc<Self> {
        let names = self.shards.names(self.naming.prefix());
        let bytes = names.map(|name| self.shards.size(name)).sum();
        let _ = self.loading.set(LoadProgress::begin(component, bytes, self.shards.path()));
        self
    }

    /// The root of the component's names.
    pub fn root(self: &Rc<Self>) -> Vars {
        Vars { files: Rc::clone(self), prefix: String::new() }
    }

    /// Whether the files have a tensor whose name starts with `place`.
    pub fn has_any(&self, place: &str) -> bool {
        self.shards.has_any(&self.naming.stored(place).name)
    }

    /// Ends the load. Logs weights that were not requested, as diffusers does, except those that are `ignored`.
    ///
    /// # Errors
    /// Lists all tensors that are missing, have another shape, or cannot be used.
    pub fn finish(&self, ignored: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let asked = self.asked.borrow();
        let mut report = self.report.borrow().clone();
        let unexpected = self
            .shards
            .names(self.naming.prefix())
            .filter(|name| self.shards.is_weight(name) && !name.ends_with(quantised::MARK));
        report.unexpected =
            unexpected.filter(|n| !asked.contains(*n) && !ignored(n)).map(str::to_owned).collect();
        if !report.is_fatal() && !report.unexpected.is_empty() {
            tracing::warn!("{report}");
        }
        if report.is_fatal() { Err(LoadError::Weights(Box::new(report))) } else { Ok(()) }
    }

    /// The weights and biases of linear layers, convolutions and norms, by module. Adapters may change them.
    pub fn modules(&self) -> BTreeMap<String, ModuleWeights> {
        self.modules.borrow().clone()
    }

    /// Those and the weights of [`Vars::movable`]: what can move to another device.
    pub fn movable(&self) -> Vec<Weight> {
        self.movable.borrow().clone()
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        if let Some(random) = self.shards.random_weights() {
            // The parts of a stored tensor are not drawn as one: they would be equal.
            let name = format!("{}{name}", self.naming.prefix());
            return Ok(random.tensor(&name, shape, self.dtype, &self.device)?);
        }
        let Stored { name, view } = self.naming.stored(name);
        match self.read(&name, view, shape)? {
            Ok(tensor) => Ok(tensor.to_dtype(self.dtype)?),
            Err(wrong) => {
                self.note(name, wrong)?;
                // A placeholder of that shape, without memory. The load continues, so that the report is complete, and
                // `finish` fails.
                Ok(Tensor::zeros((), self.dtype, &self.device)?.broadcast_as(shape)?)
            }
        }
    }

    fn read(&self, name: &str, view: View, shape: &[usize]) -> Result<Result<Tensor, Wrong>, LoadError> {
        let mut asked = self.asked.borrow_mut();
        asked.insert(name.to_owned());
        let beside = quantised::beside(&self.shards, name, &mut asked);
        let unusable = |error| match error {
            ReadError::Load(error) => Err(error),
            ReadError::Unusable(why) => Ok(Err(Wrong::Unusable(why))),
        };
        if let Some(refusal) = self.shards.refusal(name, &beside) {
            return unusable(refusal);
        }
        let Some(found) = self.shards.shape(name) else { return Ok(Err(Wrong::Missing)) };
        if !view.shows(found, shape) {
            let found = self.shards.describe(name).unwrap_or_default();
            return Ok(Err(Wrong::Shape { expected: view.stored_shape(shape), found }));
        }
        if let Some(loading) = self.loading.get() {
            loading.advance(self.shards.size(name));
        }
        let target = Target { dtype: self.dtype, device: &self.device };
        match self.shards.weight(name, &beside, &target, &mut self.buffer.borrow_mut()) {
            Ok(stored) => Ok(Ok(view.of(stored, shape)?)),
            Err(error) => unusable(error),
        }
    }

    /// Adds a tensor to the report. Ends the load after too many: a wrong configuration can request any number.
    fn note(&self, name: String, wrong: Wrong) -> Result<(), LoadError> {
        let mut report = self.report.borrow_mut();
        match wrong {
            Wrong::Missing => report.missing.push(name),
            Wrong::Shape { expected, found } => report.mismatched.push((name, expected, found)),
            Wrong::Unusable(why) => report.unusable.push((name, why)),
        }
        match report.missing.len() + report.mismatched.len() + report.unusable.len() {
            0..MOST_WRONG => Ok(()),
            _ => Err(LoadError::Weights(Box::new(report.clone()))),
        }
    }
}

/// What is wrong with a requested tensor.
enum Wrong {
    Missing,
    Shape {
        expected: Vec<usize>,
        found: String,
    },
    /// The reason, as text after its name.
    Unusable(String),
}

/// A module in a component's tree of names, such as `down_blocks.0.resnets.1`.
#[derive(Debug, Clone)]
pub struct Vars {
    files: Rc<WeightFiles>,
    prefix: String,
}

impl Vars {
    /// The submodule `name`.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        let prefix =
            if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { files: Rc::clone(&self.files), prefix }
    }

    /// The tensor `name` of this module, in the dtype and on the device of the load. [`WeightFiles::finish`] reports a
    /// tensor that is missing, has another shape, or cannot be used.
    ///
    /// # Errors
    /// If the device fails or a file cannot be read.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.files.get(&self.at(name).prefix, shape)
    }

    /// The tensor `weight` of this module. Adapters may change it.
    ///
    /// # Errors
    /// As [`Vars::tensor`].
    pub fn weight(&self, shape: &[usize]) -> Result<Weight, LoadError> {
        let weight = self.movable("weight", shape)?;
        self.module(|module| module.weight = Some(weight.clone()));
        Ok(weight)
    }

    /// The tensor `bias` of this module. Adapters may change it.
    ///
    /// # Errors
    /// As [`Vars::tensor`].
    pub fn bias(&self, shape: &[usize]) -> Result<Weight, LoadError> {
        let bias = self.movable("bias", shape)?;
        self.module(|module| module.bias = Some(bias.clone()));
        Ok(bias)
    }

    fn module(&self, put: impl FnOnce(&mut ModuleWeights)) {
        put(self.files.modules.borrow_mut().entry(self.prefix.clone()).or_default());
    }

    /// [`Vars::tensor`] as a weight that can move to another device. Adapters do not change it.
    ///
    /// # Errors
    /// As [`Vars::tensor`].
    pub fn movable(&self, name: &str, shape: &[usize]) -> Result<Weight, LoadError> {
        let weight = Weight::new(self.tensor(name, shape)?);
        self.files.movable.borrow_mut().push(weight.clone());
        Ok(weight)
    }
}
