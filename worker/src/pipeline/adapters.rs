//! LoRAs per job: reads and caches their files, and changes the weights before a job with another set of LoRAs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

use super::error::PipelineError;
use super::inputs::LoraChoice;
use super::interrupt::Interrupt;
use super::lora_files::{LoraFiles, message};
use super::lora_set::{Entry, LoraSet, Scales};
use super::residence::Residence;
use crate::sdxl::lora::{Change, LoraTarget, ModuleName, Slot, merged};
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::{LoadError, ModuleWeights, Weight, ops, sgm};

/// The weights of one component, by module.
pub(super) type Modules = BTreeMap<String, ModuleWeights>;

/// The weights that LoRAs may change.
#[derive(Debug)]
pub(super) struct Adapters {
    modules: Vec<ModuleWeights>,
    /// How many of them are the UNet's: the first.
    unet: usize,
    /// The UNet's device.
    device: Device,
    /// Whether weights that are not needed are to be in host memory.
    residence: Rc<Residence>,
    /// Index into `modules`, by each name that a file may have for a module.
    names: BTreeMap<(LoraTarget, ModuleName), usize>,
    files: LoraFiles,
    /// The set in the weights. `None` while they are changed, and after the change failed or was interrupted.
    active: RefCell<Option<LoraSet>>,
}

impl Adapters {
    /// Collects the weights with every name that a file may have for their modules.
    pub(super) fn new(
        unet: Modules,
        encoders: [Modules; 2],
        config: &UnetConfig,
        device: Device,
        residence: Rc<Residence>,
    ) -> Self {
        let (mut modules, mut names) = (Vec::new(), BTreeMap::new());
        let mut put = |component, name: String, index| {
            names.insert((component, ModuleName::Underscored(name.replace('.', "_"))), index);
            names.insert((component, ModuleName::Dotted(name)), index);
        };
        let renamed = sgm::unet_modules(config);
        for (name, module) in unet {
            if let Some(sgm) = sgm::rename(&renamed, &name) {
                put(LoraTarget::Unet, sgm, modules.len());
            }
            put(LoraTarget::Unet, name, modules.len());
            modules.push(module);
        }
        let unet = modules.len();
        for (i, encoder) in encoders.into_iter().enumerate() {
            for (name, module) in encoder {
                let name = name.strip_prefix("text_model.").unwrap_or(&name);
                // transformers 5 omits this level of the name.
                put(LoraTarget::TextEncoder(i), format!("text_model.{name}"), modules.len());
                put(LoraTarget::TextEncoder(i), name.to_owned(), modules.len());
                modules.push(module);
            }
        }
        let active = RefCell::new(Some(LoraSet::default()));
        Self { modules, unet, device, residence, names, files: LoraFiles::default(), active }
    }

    /// The modules of the UNet, by diffusers' names, and the shapes of their weights.
    pub(super) fn unet_modules(&self) -> Vec<(String, Vec<usize>)> {
        let modules = self.names.iter().filter_map(|((target, name), index)| match (target, name) {
            (LoraTarget::Unet, ModuleName::Dotted(name)) => Some((name, *index)),
            _ => None,
        });
        // The other names of these modules are SGM's.
        let diffusers = modules.filter(|(name, _)| {
            ["down_blocks.", "mid_block.", "up_blocks."].iter().any(|start| name.starts_with(start))
        });
        diffusers
            .filter_map(|(name, index)| {
                let weight = self.weight(index, Slot::Weight)?;
                Some((name.clone(), weight.own().dims().to_vec()))
            })
            .collect()
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
        for LoraChoice { name, path, scale, unet_scale, text_scale } in loras {
            interrupt.check()?;
            let bad = |message: String| PipelineError::bad("loras", format!("{name}: {message}"));
            let scales = Scales { unet: unet_scale.unwrap_or(*scale), text: text_scale.unwrap_or(*scale) };
            if ![*scale, scales.unet, scales.text].iter().all(|scale| scale.is_finite()) {
                return Err(bad("the scale is not a finite number".into()));
            }
            let (stamp, file) = self.files.open(path).map_err(|error| match error {
                LoadError::Changed { .. } => {
                    PipelineError::fault(format!("{name}: {}", message(&error, path)))
                }
                _ => bad(message(&error, path)),
            })?;
            let mut entry = Entry { name: name.clone(), stamp, file, scales, encoder: 0 };
            // A file that does not name its text encoder is for the one that it fits.
            if self.misfit(&entry).is_some() {
                entry.encoder = 1;
            }
            if let Some(misfit) = self.misfit(&entry) {
                let other =
                    entry.file.looks_like().map(|what| format!("; it looks like {what}, and not for SDXL"));
                return Err(bad(format!("{misfit}{}", other.unwrap_or_default())));
            }
            set.push(entry);
        }
        Ok(set)
    }

    /// Why a file does not fit this checkpoint.
    fn misfit(&self, entry: &Entry) -> Option<String> {
        entry.file.changes().find_map(|(component, name, change)| {
            let Some(module) = self.module(entry, component, name) else {
                return Some(format!("the {component} has no module {name}"));
            };
            Slot::ALL.into_iter().filter(|slot| change.has(*slot)).find_map(|slot| {
                let Some(weight) = self.weight(module, slot) else {
                    return Some(format!("{name} of the {component} has no {}", slot.name()));
                };
                let own = weight.own();
                let of = if slot == Slot::Weight { "" } else { "the bias of " };
                let shape = own.dims();
                (!change.fits(slot, shape)).then(|| {
                    format!("{of}{name} of the {component} is {shape:?}, and the LoRA is for another shape")
                })
            })
        })
    }

    /// The index of a module.
    fn module(&self, entry: &Entry, component: LoraTarget, name: &ModuleName) -> Option<usize> {
        self.names.get(&(entry.resolved(component), name.clone())).copied()
    }

    fn weight(&self, module: usize, slot: Slot) -> Option<&Weight> {
        let ModuleWeights { weight, bias } = self.modules.get(module)?;
        match slot {
            Slot::Weight => weight.as_ref(),
            Slot::Bias => bias.as_ref(),
        }
    }

    /// The tensors of some modules.
    fn tensors(modules: &[ModuleWeights]) -> impl Iterator<Item = &Weight> {
        modules.iter().flat_map(|module| module.weight.iter().chain(&module.bias))
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
        Self::tensors(&self.modules).for_each(|weight| weight.adapt(None));
        Self::tensors(&self.modules[..self.unet]).try_for_each(|weight| weight.keep_own_on(&self.device))?;
        let mut changes: BTreeMap<(usize, Slot), Vec<ModuleChange<'_>>> = BTreeMap::new();
        for entry in set.entries() {
            for (component, name, change) in entry.file.changes() {
                let Some(module) = self.module(entry, component, name) else { continue };
                for slot in Slot::ALL.into_iter().filter(|slot| change.has(*slot)) {
                    let change = ModuleChange { entry, component, name, change };
                    changes.entry((module, slot)).or_default().push(change);
                }
            }
        }
        for ((module, slot), changes) in changes {
            interrupt.check()?;
            let Some(weight) = self.weight(module, slot) else { continue };
            weight.adapt(Some(changed(&weight.own(), slot, &changes)?));
            if module < self.unet && self.residence.rests() {
                // The device has too little memory for both.
                weight.keep_own_on(&Device::Cpu)?;
            }
        }
        *self.active.borrow_mut() = Some(set.clone());
        Ok(())
    }
}

/// The change of one module by one LoRA.
struct ModuleChange<'a> {
    entry: &'a Entry,
    component: LoraTarget,
    name: &'a ModuleName,
    change: &'a Change,
}

/// A tensor plus its changes. See [`merged`].
fn changed(own: &Tensor, slot: Slot, changes: &[ModuleChange<'_>]) -> Result<Tensor, PipelineError> {
    let sum = |changes: &[ModuleChange<'_>]| -> candle_core::Result<Tensor> {
        let scaled: Vec<_> = changes.iter().map(|c| (c.change, c.entry.scale(c.component))).collect();
        merged(own, slot, &scaled)
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

fn not_finite(changes: &[ModuleChange<'_>], dtype: DType) -> PipelineError {
    let names: Vec<&str> = changes.iter().map(|change| change.entry.name.as_str()).collect();
    let place = changes.first().map(|c| format!("{} of the {}", c.name, c.component)).unwrap_or_default();
    let message = format!(
        "{}: with this LoRA the weights of {place} are not finite in {}: use a smaller scale or another file",
        names.join(", "),
        dtype.as_str()
    );
    PipelineError::bad("loras", message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::lora_files::Stamp;
    use crate::sdxl::lora::LoraFile;

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
        let stamp = Stamp::of(&path).unwrap();
        let entry = |scale| {
            let scales = Scales { unet: scale, text: scale };
            Entry { name: "x".into(), stamp: stamp.clone(), file: file.clone(), scales, encoder: 0 }
        };
        let [third, rest, whole] = [0.3, 0.7, 1.0].map(entry);
        let shape = [64, 16];
        let fits = |change: &Change| change.fits(Slot::Weight, &shape);
        let (component, name, change) = file.changes().find(|(_, _, change)| fits(change)).unwrap();
        let change = |entry| ModuleChange { entry, component, name, change };
        let numbers = (0..shape[0] * shape[1]).map(|i| (i as f32 * 0.37).sin());
        let own = Tensor::from_iter(numbers, &Device::Cpu).unwrap().reshape(&shape[..]).unwrap();
        let own = own.to_dtype(DType::F16).unwrap();
        let two = changed(&own, Slot::Weight, &[change(&third), change(&rest)]).unwrap();
        let one = changed(&own, Slot::Weight, &[change(&whole)]).unwrap();
        let apart = distance(&two, &one);
        assert!(apart.iter().all(|units| *units <= 1), "{apart:?}");
        // Only if the float32 sums are on both sides of a rounding boundary.
        let rounded_apart = apart.iter().filter(|units| **units > 0).count();
        assert!(rounded_apart * 100 <= apart.len(), "{rounded_apart} of {}", apart.len());
        assert!(distance(&one, &own).iter().any(|units| *units > 100), "it has an effect");
    }
}
