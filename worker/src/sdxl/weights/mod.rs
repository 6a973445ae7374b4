//! The tensors of one component by diffusers' names, whatever its files call them.

mod naming;
mod precision;
mod shard;
mod weight;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

pub use naming::{Naming, Stored, View};
pub use precision::Precision;
pub use shard::Shards;
pub use weight::Weight;

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
        })
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
    /// With everything that was missing or mis-shaped.
    pub fn finish(&self, ignored: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let asked = self.asked.borrow();
        let mut report = self.report.borrow().clone();
        let weight = |name: &&str| self.shards.shape(name).is_some_and(|shape| !shape.is_empty());
        let unexpected = self.shards.names(self.naming.prefix()).filter(weight);
        report.unexpected =
            unexpected.filter(|n| !asked.contains(*n) && !ignored(n)).map(str::to_owned).collect();
        if !report.is_fatal() && !report.unexpected.is_empty() {
            tracing::warn!("{report}");
        }
        if report.is_fatal() { Err(LoadError::Weights(report)) } else { Ok(()) }
    }

    /// The weights of linear layers and convolutions, by module: what adapters may change.
    pub fn weights(&self) -> BTreeMap<String, Weight> {
        self.weights.borrow().clone()
    }

    /// A configuration can ask for any number of tensors: ends the load where it is clear that these are not its
    /// weights.
    fn go_on(&self) -> Result<(), LoadError> {
        let report = self.report.borrow();
        match report.missing.len() + report.mismatched.len() {
            0..MOST_WRONG => Ok(()),
            _ => Err(LoadError::Weights(report.clone())),
        }
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        // A stand-in of the right shape without memory behind it: the load goes on, so that the report
        // lists everything, and `finish` fails.
        let stand_in = || -> Result<Tensor, LoadError> {
            Ok(Tensor::zeros((), self.dtype, &self.device)?.broadcast_as(shape)?)
        };
        let Stored { name, view } = self.naming.stored(name);
        self.asked.borrow_mut().insert(name.clone());
        let Some(found) = self.shards.describe(&name) else {
            self.report.borrow_mut().missing.push(name);
            self.go_on()?;
            return stand_in();
        };
        let fits = self.shards.shape(&name).is_some_and(|stored| view.shows(stored, shape));
        if !fits {
            self.report.borrow_mut().mismatched.push((name, view.stored_shape(shape), found));
            self.go_on()?;
            return stand_in();
        }
        let tensor = view.of(self.shards.load(&name, &self.device)?, shape)?;
        Ok(tensor.to_dtype(self.dtype)?)
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
