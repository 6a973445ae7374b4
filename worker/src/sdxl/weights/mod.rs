//! The tensors of one component by diffusers' names, whatever its files call them.

mod file;
mod header;
mod naming;
mod numbers;
mod precision;
mod progress;
mod quantised;
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
pub use weight::Weight;

use self::progress::Loading;
use self::reading::Target;
use super::error::{LoadError, WeightReport};

/// The most tensors of a component that a report lists: SDXL's largest has fewer.
const MOST_WRONG: usize = 4096;

/// All tensors of one component, and a record of which were asked for.
#[derive(Debug)]
pub struct WeightFiles {
    shards: Rc<Shards>,
    naming: Naming,
    device: Device,
    dtype: DType,
    asked: RefCell<BTreeSet<String>>,
    report: RefCell<WeightReport>,
    /// By module, as `mid_block.resnets.0.conv1`.
    weights: RefCell<BTreeMap<String, Weight>>,
    /// The bytes of one tensor at a time.
    buffer: RefCell<Vec<u8>>,
    loading: OnceCell<Loading>,
}

impl WeightFiles {
    /// The component's file or shards in a folder of the diffusers layout; see [`Shards::find`].
    ///
    /// # Errors
    /// If there is none, or a file is cut or not safetensors.
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

    /// A component in files that may have other names for its tensors, and other components beside it.
    pub fn new(shards: Rc<Shards>, naming: Naming, dtype: DType, device: &Device) -> Rc<Self> {
        let report = WeightReport { file: shards.path().into(), ..WeightReport::default() };
        Rc::new(Self {
            shards,
            naming,
            device: device.clone(),
            dtype,
            asked: RefCell::default(),
            report: RefCell::new(report),
            weights: RefCell::default(),
            buffer: RefCell::default(),
            loading: OnceCell::new(),
        })
    }

    /// Says in the log that the component is loaded now, under this name, and from time to time how far it is.
    #[must_use]
    pub fn logged_as(self: Rc<Self>, component: &'static str) -> Rc<Self> {
        let names = self.shards.names(self.naming.prefix());
        let bytes = names.map(|name| self.shards.size(name)).sum();
        let _ = self.loading.set(Loading::begin(component, bytes, self.shards.path()));
        self
    }

    /// The names below the root of the component.
    pub fn root(self: &Rc<Self>) -> Vars {
        Vars { files: Rc::clone(self), prefix: String::new() }
    }

    /// Whether the files have a tensor at or below this place.
    pub fn has_any(&self, place: &str) -> bool {
        self.shards.has_any(&self.naming.stored(place).name)
    }

    /// Ends the load. Weights that nobody asked for are in the log, as in diffusers; those in `ignored` are
    /// not.
    ///
    /// # Errors
    /// With everything that was missing, mis-shaped or of no use.
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

    /// The weights of linear layers and convolutions, by module: what adapters may change.
    pub fn weights(&self) -> BTreeMap<String, Weight> {
        self.weights.borrow().clone()
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let Stored { name, view } = self.naming.stored(name);
        match self.read(&name, view, shape)? {
            Ok(tensor) => Ok(tensor.to_dtype(self.dtype)?),
            Err(wrong) => {
                self.note(name, wrong)?;
                // A stand-in of the right shape without memory behind it: the load goes on, so that the report
                // lists everything, and `finish` fails.
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

    /// A configuration can ask for any number of tensors: ends the load where it is clear that these are not its
    /// weights.
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

/// What is wrong with a tensor that is asked for.
enum Wrong {
    Missing,
    Shape {
        expected: Vec<usize>,
        found: String,
    },
    /// What, to go after its name.
    Unusable(String),
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
    /// another shape or cannot be used goes into the report of [`WeightFiles::finish`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.files.get(&self.at(name).prefix, shape)
    }

    /// The tensor `weight` here, which adapters may change.
    ///
    /// # Errors
    /// As [`Vars::tensor`].
    pub fn weight(&self, shape: &[usize]) -> Result<Weight, LoadError> {
        let weight = Weight::new(self.tensor("weight", shape)?);
        self.files.weights.borrow_mut().insert(self.prefix.clone(), weight.clone());
        Ok(weight)
    }
}
