//! LoRA by job: reads files once, and changes the weights before a job with another set of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use candle_core::DType;

use super::error::PipelineError;
use super::inputs::Lora;
use super::interrupt::Interrupt;
use crate::sdxl::lora::{Component, LoraFile, ModuleName};
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::{Weight, sgm};

/// Weights by module, of one component.
pub(super) type Weights = BTreeMap<String, Weight>;

/// Parsed files are kept up to this many bytes; those of the set in use in any case.
const CACHE_BYTES: usize = 1 << 30;

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

/// A checked set of LoRAs, in the order of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct LoraSet(Vec<(Stamp, Rc<LoraFile>, f64)>);

impl PartialEq for LoraSet {
    fn eq(&self, other: &Self) -> bool {
        let key =
            |set: &Self| set.0.iter().map(|(stamp, _, scale)| (stamp.clone(), *scale)).collect::<Vec<_>>();
        key(self) == key(other)
    }
}

/// Everything of a checkpoint that a LoRA may change.
#[derive(Debug)]
pub(super) struct Adapters {
    modules: BTreeMap<(Component, ModuleName), Weight>,
    files: RefCell<Vec<(Stamp, Rc<LoraFile>)>>,
    /// `None` while the weights are being changed, and after that failed or was interrupted.
    active: RefCell<Option<LoraSet>>,
}

impl Adapters {
    /// Lists the modules under every name that a file may have for them.
    pub(super) fn new(unet: Weights, encoders: [Weights; 2], config: &UnetConfig) -> Self {
        let mut modules = BTreeMap::new();
        let mut put = |component, name: String, weight: &Weight| {
            let underscored = ModuleName::Underscored(name.replace('.', "_"));
            modules.insert((component, underscored), weight.clone());
            modules.insert((component, ModuleName::Dotted(name)), weight.clone());
        };
        let renamed = sgm::unet_modules(config);
        for (name, weight) in &unet {
            if let Some(sgm) = sgm::rename(&renamed, name) {
                put(Component::Unet, sgm, weight);
            }
            put(Component::Unet, name.clone(), weight);
        }
        for (i, weights) in encoders.iter().enumerate() {
            for (name, weight) in weights {
                let name = name.strip_prefix("text_model.").unwrap_or(name);
                // Names with that level are the usual ones; transformers 5 leaves it out.
                put(Component::TextEncoder(i), format!("text_model.{name}"), weight);
                put(Component::TextEncoder(i), name.to_owned(), weight);
            }
        }
        Self { modules, files: RefCell::default(), active: RefCell::new(Some(LoraSet::default())) }
    }

    /// Reads what the request names and checks that it fits this checkpoint.
    pub(super) fn load(&self, loras: &[Lora], interrupt: Interrupt<'_>) -> Result<LoraSet, PipelineError> {
        let mut set = LoraSet::default();
        for lora in loras {
            interrupt.check()?;
            // The name alone: where an operator keeps files is not a client's business.
            let name = lora.path.file_name().unwrap_or(lora.path.as_os_str()).to_string_lossy().into_owned();
            let bad = |message: String| PipelineError::bad("loras", message);
            if !lora.scale.is_finite() {
                return Err(bad(format!("{name}: the scale is not a finite number")));
            }
            let (stamp, file) = self.file(&lora.path).map_err(|message| bad(format!("{name}: {message}")))?;
            for (component, module, delta) in file.deltas() {
                match self.modules.get(&(component, module.clone())) {
                    None => return Err(bad(format!("{name}: the {component} has no module {module}"))),
                    Some(weight) if !delta.fits(weight.own().dims()) => {
                        let message = format!(
                            "{name}: {module} of the {component} is {:?}, and the LoRA is for another shape",
                            weight.own().dims()
                        );
                        return Err(bad(message));
                    }
                    Some(_) => {}
                }
            }
            set.0.push((stamp, file, lora.scale));
        }
        Ok(set)
    }

    /// Makes the weights those of the set, if they are not yet. Without LoRAs they are the checkpoint's own
    /// tensors, not a copy that was changed back.
    pub(super) fn activate(&self, set: &LoraSet, interrupt: Interrupt<'_>) -> Result<(), PipelineError> {
        if self.active.borrow().as_ref() == Some(set) {
            return Ok(());
        }
        *self.active.borrow_mut() = None;
        self.modules.values().for_each(|weight| weight.adapt(None));
        for (_, file, scale) in &set.0 {
            for (component, module, delta) in file.deltas() {
                interrupt.check()?;
                let Some(weight) = self.modules.get(&(component, module.clone())) else { continue };
                let dtype = weight.own().dtype();
                let changed = (weight.get().to_dtype(DType::F32)? + delta.of(weight.own(), *scale)?)?;
                weight.adapt(Some(changed.to_dtype(dtype)?));
            }
        }
        *self.active.borrow_mut() = Some(set.clone());
        Ok(())
    }

    /// The file, read again if it has changed.
    fn file(&self, path: &Path) -> Result<(Stamp, Rc<LoraFile>), String> {
        let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "not found".to_owned(),
            _ => e.to_string(),
        })?;
        let stamp = Stamp { path: path.into(), modified: metadata.modified().ok(), length: metadata.len() };
        let mut files = self.files.borrow_mut();
        files.retain(|(kept, _)| kept.path != stamp.path || *kept == stamp);
        let file = match files.iter().position(|(kept, _)| *kept == stamp) {
            Some(index) => files.remove(index).1,
            None => Rc::new(LoraFile::open(path).map_err(|e| message(&e, path))?),
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

/// A complaint without the folder that the file is in.
fn message(error: &crate::sdxl::LoadError, path: &Path) -> String {
    let text = error.to_string();
    let start = format!("{}: ", path.display());
    text.strip_prefix(&start).unwrap_or(&text).to_owned()
}
