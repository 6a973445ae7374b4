//! LoRA files: changes of a checkpoint's weights, with the tensor names of peft, diffusers, kohya's scripts, LyCORIS,
//! ComfyUI and OneTrainer. `names` has the names, `delta` the forms.

mod alphas;
mod assemble;
mod change;
mod delta;
mod embedding;
mod factor;
mod foreign;
mod names;
mod part;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::alphas::Alphas;
use self::assemble::{Incomplete, Parts};
use self::names::Key;
use self::part::Part;
use super::error::{LoadError, Shown};
use super::weights::{ReadError, Shards};

pub use alphas::settings_beside;
pub use change::{Change, Slot, merged};
pub use delta::Delta;
pub use embedding::Embedding;
pub use target::{LoraTarget, ModuleName};

/// Whether a tensor of this name can be part of a LoRA.
pub fn is_lora_tensor(name: &str) -> bool {
    Key::parse(name).is_some()
}

/// A parsed LoRA file.
#[derive(Debug)]
pub struct LoraFile {
    path: PathBuf,
    changes: BTreeMap<(LoraTarget, ModuleName), Change>,
    embeddings: Vec<Embedding>,
    looks_like: Option<String>,
}

impl LoraFile {
    /// Reads a file, and the settings of peft beside it.
    ///
    /// # Errors
    /// If it is missing, truncated, or has tensors that are not finite or not those of a LoRA. The message names the
    /// file and the tensor.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let shards = Shards::open(path)?;
        let malformed = |message: String| LoadError::Malformed { path: path.into(), message };
        let mut looks_like = foreign::by_names(&shards);
        let mut modules: BTreeMap<(LoraTarget, ModuleName), Parts> = BTreeMap::new();
        for name in shards.names("").filter(|name| embedding::parse(name).is_none()) {
            let Some(key) = Key::parse(name) else {
                return Err(malformed(unknown(name, looks_like.as_deref())));
            };
            let same = modules.entry((key.component, key.module)).or_default().add(key.part, name);
            if let Some(other) = same {
                let (one, other, part) = (Shown(name), Shown(&other), key.part);
                return Err(malformed(format!("{other} and {one} are both the {part} of one module")));
            }
        }
        let unusable = |name: &str, error| match error {
            ReadError::Load(error) => error,
            ReadError::Unusable(why) => malformed(format!("{} {why}", Shown(name))),
        };
        let embeddings = embedding::read(&shards).map_err(|(name, error)| unusable(&name, error))?;
        if modules.is_empty() && embeddings.is_empty() {
            return Err(malformed("no tensors".into()));
        }
        let alphas = Alphas::of(&shards).map_err(malformed)?;
        let mut changes = BTreeMap::new();
        for ((component, module), parts) in modules {
            let change = parts.change(&shards, &alphas, (component, &module)).map_err(|e| match e {
                Incomplete::Load(error) => error,
                Incomplete::Lacks(part) => malformed(format!("{module} of the {component} has no {part}")),
                Incomplete::Unusable(name, why) => malformed(format!("{} {why}", Shown(&name))),
                Incomplete::Whole(why) => malformed(format!("{module} of the {component} {why}")),
            })?;
            changes.insert((component, module), change);
        }
        if looks_like.is_none() {
            let by_shape = changes
                .iter()
                .find_map(|((target, module), change)| foreign::by_shape(*target, module, change));
            let older = || changes.keys().any(|(target, module)| foreign::is_older(*target, module));
            let model = by_shape.or_else(|| older().then_some("Stable Diffusion 1 or 2"));
            looks_like = model.map(|model| format!("a LoRA for {model}"));
        }
        Ok(Self { path: path.into(), changes, embeddings, looks_like })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The changes of each module, with its component.
    pub fn changes(&self) -> impl Iterator<Item = (LoraTarget, &ModuleName, &Change)> {
        self.changes.iter().map(|((component, module), change)| (*component, module, change))
    }

    /// The words that were trained with the LoRA.
    pub fn embeddings(&self) -> &[Embedding] {
        &self.embeddings
    }

    /// What the file is, if its names or shapes are those of something else than a LoRA for SDXL: such as "a LoRA for
    /// FLUX".
    pub fn looks_like(&self) -> Option<&str> {
        self.looks_like.as_deref()
    }

    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        let embeddings = self.embeddings.iter().flat_map(|e| e.vectors.tensors());
        let embeddings: usize = embeddings.map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum();
        self.changes.values().map(Change::size).sum::<usize>() + embeddings
    }
}

/// What is wrong with a tensor whose name has no meaning.
fn unknown(name: &str, looks_like: Option<&str>) -> String {
    if let Some(what) = looks_like {
        return format!("looks like {what}, and not like a LoRA for SDXL: {}", Shown(name));
    }
    match Part::other_form(name) {
        Some(form) => format!("{} is of another form ({form}), which is not supported", Shown(name)),
        None => format!("the form of {} is not supported", Shown(name)),
    }
}
