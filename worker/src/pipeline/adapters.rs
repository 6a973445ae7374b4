//! LoRAs per job: reads and caches their files, and changes the weights before a job with another set of LoRAs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use candle_core::{DType, Device, Tensor};

use super::error::PipelineError;
use super::inputs::LoraChoice;
use super::interrupt::Interrupt;
use super::residence::Residence;
use crate::sdxl::lora::{Delta, LoraFile, LoraTarget, ModuleName};
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::{LoadError, Weight, ops, sgm};

/// The weights of one component, by module.
pub(super) type Weights = BTreeMap<String, Weight>;

/// The most bytes of parsed files in the cache. The files of the active set are always kept.
const CACHE_BYTES: usize = 1 << 30;

/// Identifies one state of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

/// One LoRA of a set.
#[derive(Debug, Clone)]
struct Entry {
    /// Its name in the request.
    name: String,
    stamp: Stamp,
    file: Rc<LoraFile>,
    scale: f64,
}

/// A checked set of LoRAs, in the order of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct LoraSet(Vec<Entry>);

impl LoraSet {
    /// The error for numbers that are not finite. With LoRAs the request is at fault: their weights are finite, but too
    /// large for the model. Without them it is a fault.
    pub(super) fn not_finite(&self, what: &str) -> PipelineError {
        let names: Vec<&str> = self.0.iter().map(|entry| entry.name.as_str()).collect();
        match names.as_slice() {
            [] => PipelineError::fault(format!("{what} is not finite")),
            names => PipelineError::bad(
                "loras",
                format!("{}: {what} is not finite: use a smaller scale or another file", names.join(", ")),
            ),
        }
    }
}

impl PartialEq for LoraSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|entry| (&entry.stamp, entry.scale)).eq(other.0.iter().map(|e| (&e.stamp, e.scale)))
    }
}

/// The weights that LoRAs may change.
#[derive(Debug)]
pub(super) struct Adapters {
    weights: Vec<Weight>,
    /// How many of them are the UNet's: the first.
    unet: usize,
    /// The UNet's device.
    device: Device,
    /// Whether weights that are not needed are to be in host memory.
    residence: Rc<Residence>,
    /// Index into `weights`, by each name that a file may have for a module.
    modules: BTreeMap<(LoraTarget, ModuleName), usize>,
    files: RefCell<Vec<(Stamp, Rc<LoraFile>)>>,
    /// The set in the weights. `None` while they are changed, and after the change failed or was interrupted.
    active: RefCell<Option<LoraSet>>,
}

impl Adapters {
    /// Collects the weights with every name that a file may have for their modules.
    pub(super) fn new(
        unet: Weights,
        encoders: [Weights; 2],
        config: &UnetConfig,
        device: Device,
        residence: Rc<Residence>,
    ) -> Self {
        let (mut weights, mut modules) = (Vec::new(), BTreeMap::new());
        let mut put = |component, name: String, index| {
            modules.insert((component, ModuleName::Underscored(name.replace('.', "_"))), index);
            modules.insert((component, ModuleName::Dotted(name)), index);
        };
        let renamed = sgm::unet_modules(config);
        for (name, weight) in unet {
            if let Some(sgm) = sgm::rename(&renamed, &name) {
                put(LoraTarget::Unet, sgm, weights.len());
            }
            put(LoraTarget::Unet, name, weights.len());
            weights.push(weight);
        }
        let unet = weights.len();
        for (i, encoder) in encoders.into_iter().enumerate() {
            for (name, weight) in encoder {
                let name = name.strip_prefix("text_model.").unwrap_or(&name);
                // transformers 5 omits this level of the name.
                put(LoraTarget::TextEncoder(i), format!("text_model.{name}"), weights.len());
                put(LoraTarget::TextEncoder(i), name.to_owned(), weights.len());
                weights.push(weight);
            }
        }
        let active = RefCell::new(Some(LoraSet::default()));
        Self { weights, unet, device, residence, modules, files: RefCell::default(), active }
    }

    /// The modules of the UNet, by diffusers' names, and the shapes of their weights.
    pub(super) fn unet_modules(&self) -> Vec<(String, Vec<usize>)> {
        let modules = self.modules.iter().filter_map(|((target, name), index)| match (target, name) {
            (LoraTarget::Unet, ModuleName::Dotted(name)) => Some((name, *index)),
            _ => None,
        });
        // The other names of these modules are SGM's.
        let diffusers = modules.filter(|(name, _)| {
            ["down_blocks.", "mid_block.", "up_blocks."].iter().any(|start| name.starts_with(start))
        });
        diffusers.map(|(name, index)| (name.clone(), self.weights[index].own().dims().to_vec())).collect()
    }

    /// Reads a request's LoRAs and checks that they fit this checkpoint.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if a LoRA cannot be used, a fault if its file is changed while it is read.
    pub(super) fn load(
        &self,
        loras: &[LoraChoice],
        interrupt: Interrupt<'_>,
    ) -> Result<LoraSet, PipelineError> {
        let mut set = LoraSet::default();
        for LoraChoice { name, path, scale } in loras {
            interrupt.check()?;
            let bad = |message: String| PipelineError::bad("loras", format!("{name}: {message}"));
            if !scale.is_finite() {
                return Err(bad("the scale is not a finite number".into()));
            }
            let (stamp, file) = self.file(path).map_err(|error| match error {
                LoadError::Changed { .. } => {
                    PipelineError::fault(format!("{name}: {}", message(&error, path)))
                }
                _ => bad(message(&error, path)),
            })?;
            for (component, module, delta) in file.deltas() {
                let Some(weight) = self.weight(component, module) else {
                    return Err(bad(format!("the {component} has no module {module}")));
                };
                let own = self.weights[weight].own();
                let shape = own.dims();
                if !delta.fits(shape) {
                    return Err(bad(format!(
                        "{module} of the {component} is {shape:?}, and the LoRA is for another shape"
                    )));
                }
            }
            set.0.push(Entry { name: name.clone(), stamp, file, scale: *scale });
        }
        Ok(set)
    }

    fn weight(&self, component: LoraTarget, module: &ModuleName) -> Option<usize> {
        self.modules.get(&(component, module.clone())).copied()
    }

    /// Applies a set to the weights, if it is not active yet. Without LoRAs the weights are the checkpoint's own
    /// tensors, not a copy of them. With little device memory these are in host memory while LoRAs replace them.
    ///
    /// # Errors
    /// If a changed weight is not finite, the device fails, or the work is interrupted.
    pub(super) fn activate(&self, set: &LoraSet, interrupt: Interrupt<'_>) -> Result<(), PipelineError> {
        if self.active.borrow().as_ref() == Some(set) {
            return Ok(());
        }
        *self.active.borrow_mut() = None;
        self.weights.iter().for_each(|weight| weight.adapt(None));
        self.weights[..self.unet].iter().try_for_each(|weight| weight.keep_own_on(&self.device))?;
        let mut changes: BTreeMap<usize, Vec<WeightChange<'_>>> = BTreeMap::new();
        for entry in &set.0 {
            for (component, module, delta) in entry.file.deltas() {
                let Some(weight) = self.weight(component, module) else { continue };
                let change = WeightChange { entry, component, module, delta };
                changes.entry(weight).or_default().push(change);
            }
        }
        for (weight, changes) in changes {
            interrupt.check()?;
            let (is_unet, weight) = (weight < self.unet, &self.weights[weight]);
            weight.adapt(Some(changed(&weight.own(), &changes)?));
            if is_unet && self.residence.rests() {
                // The device has too little memory for both.
                weight.keep_own_on(&Device::Cpu)?;
            }
        }
        *self.active.borrow_mut() = Some(set.clone());
        Ok(())
    }

    /// The parsed file, from the cache if the file has not changed.
    fn file(&self, path: &Path) -> Result<(Stamp, Rc<LoraFile>), LoadError> {
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => LoadError::Missing { path: path.into(), what: "a LoRA" },
            _ => LoadError::Unreadable { path: path.into(), source },
        })?;
        let stamp = Stamp {
            path: path.into(),
            inode: metadata.ino(),
            modified: metadata.modified().ok(),
            length: metadata.len(),
        };
        let mut files = self.files.borrow_mut();
        files.retain(|(kept, _)| kept.path != stamp.path || *kept == stamp);
        let file = match files.iter().position(|(kept, _)| *kept == stamp) {
            Some(index) => files.remove(index).1,
            None => Rc::new(LoraFile::open(path)?),
        };
        // Newest last.
        files.push((stamp.clone(), file.clone()));
        let mut size: usize = files.iter().map(|(_, file)| file.size()).sum();
        while size > CACHE_BYTES && files.len() > 1 {
            size -= files.remove(0).1.size();
        }
        Ok((stamp, file))
    }
}

/// The change of one weight by one LoRA.
struct WeightChange<'a> {
    entry: &'a Entry,
    component: LoraTarget,
    module: &'a ModuleName,
    delta: &'a Delta,
}

/// The weight plus its changes: summed in f32 and rounded once.
fn changed(own: &Tensor, changes: &[WeightChange<'_>]) -> Result<Tensor, PipelineError> {
    let sum = |changes: &[WeightChange<'_>]| -> candle_core::Result<Tensor> {
        let mut sum = own.to_dtype(DType::F32)?;
        for WeightChange { entry, delta, .. } in changes {
            sum = (sum + delta.of(own, entry.scale)?)?;
        }
        sum.to_dtype(own.dtype())
    };
    let changed = sum(changes)?;
    if ops::is_finite(&changed)? {
        return Ok(changed);
    }
    // Name a single LoRA if it overflows alone.
    for change in changes {
        let one = std::slice::from_ref(change);
        if !ops::is_finite(&sum(one)?)? {
            return Err(not_finite(one, own.dtype()));
        }
    }
    Err(not_finite(changes, own.dtype()))
}

fn not_finite(changes: &[WeightChange<'_>], dtype: DType) -> PipelineError {
    let names: Vec<&str> = changes.iter().map(|change| change.entry.name.as_str()).collect();
    let place = changes.first().map(|c| format!("{} of the {}", c.module, c.component)).unwrap_or_default();
    let message = format!(
        "{}: with this LoRA the weights of {place} are not finite in {}: use a smaller scale or another file",
        names.join(", "),
        dtype.as_str()
    );
    PipelineError::bad("loras", message)
}

/// An error message without the file's folder.
fn message(error: &LoadError, path: &Path) -> String {
    if let LoadError::Missing { .. } = error {
        return "not found".to_owned();
    }
    let text = error.to_string();
    let start = format!("{}: ", path.display());
    text.strip_prefix(&start).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances in units of the last place of float16.
    fn distance(a: &Tensor, b: &Tensor) -> Vec<i32> {
        let bits = |t: &Tensor| -> Vec<i32> {
            let numbers = t.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap();
            // float16 has 13 mantissa bits less than float32.
            numbers.iter().map(|number| number.to_bits().cast_signed() >> 13).collect()
        };
        bits(a).iter().zip(bits(b)).map(|(a, b)| (a - b).abs()).collect()
    }

    #[test]
    fn two_loras_equal_one_with_their_summed_scale_within_one_rounding() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/variants/kohya_sgm.safetensors");
        let file = Rc::new(LoraFile::open(&path).unwrap());
        let stamp = Stamp { path, inode: 0, modified: None, length: 0 };
        let entry = |scale| Entry { name: "x".into(), stamp: stamp.clone(), file: file.clone(), scale };
        let [third, rest, whole] = [0.3, 0.7, 1.0].map(entry);
        let shape = [64, 16];
        let (component, module, delta) = file.deltas().find(|(_, _, delta)| delta.fits(&shape)).unwrap();
        let change = |entry| WeightChange { entry, component, module, delta };
        let numbers = (0..shape[0] * shape[1]).map(|i| (i as f32 * 0.37).sin());
        let own = Tensor::from_iter(numbers, &Device::Cpu).unwrap().reshape(&shape[..]).unwrap();
        let own = own.to_dtype(DType::F16).unwrap();
        let two = changed(&own, &[change(&third), change(&rest)]).unwrap();
        let one = changed(&own, &[change(&whole)]).unwrap();
        let apart = distance(&two, &one);
        assert!(apart.iter().all(|units| *units <= 1), "{apart:?}");
        // Only if the float32 sums are on both sides of a rounding boundary.
        let rounded_apart = apart.iter().filter(|units| **units > 0).count();
        assert!(rounded_apart * 100 <= apart.len(), "{rounded_apart} of {}", apart.len());
        assert!(distance(&one, &own).iter().any(|units| *units > 100), "it has an effect");
    }
}
