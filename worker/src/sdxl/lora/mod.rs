//! LoRA files: low-rank changes of a checkpoint's weights (Hu et al. 2021), with the tensor names of peft (diffusers)
//! or of kohya's scripts.

mod alphas;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use self::alphas::Alphas;
use self::names::{Key, Part};
use super::error::{LoadError, Shown};
use super::weights::{ReadError, Shards};

pub use names::{LoraTarget, ModuleName};

/// Whether a tensor of this name can be part of a LoRA.
pub fn is_lora_tensor(name: &str) -> bool {
    Key::parse(name).is_some()
}

/// The change of one weight W: W + scale * alpha / rank * up down (section 4.1 of the paper).
#[derive(Debug, Clone)]
pub struct Delta {
    /// [rank, inputs], or [rank, inputs, kh, kw] for a convolution. On the CPU; finite.
    down: Tensor,
    /// [outputs, rank], or [outputs, rank, 1, 1] for a convolution. On the CPU; finite.
    up: Tensor,
    /// alpha / rank.
    factor: f64,
}

impl Delta {
    /// Whether the change fits a weight of this shape.
    pub fn fits(&self, weight: &[usize]) -> bool {
        let outputs = weight.first().copied().unwrap_or(0);
        let inputs = weight.iter().skip(1).product::<usize>();
        let rank = self.down.dims()[0];
        self.up.elem_count() == outputs * rank
            && self.up.dims()[0] == outputs
            && self.down.elem_count() == rank * inputs
    }

    /// The change of `weight`, times `scale`: in f32, on the device and in the shape of the weight. The delta must fit
    /// the weight.
    ///
    /// # Errors
    /// If the device fails.
    pub fn of(&self, weight: &Tensor, scale: f64) -> candle_core::Result<Tensor> {
        let matrix = |tensor: &Tensor| {
            tensor.to_device(weight.device())?.to_dtype(DType::F32)?.flatten_from(1)?.contiguous()
        };
        let up = matrix(&self.up)?;
        let change = (up.matmul(&matrix(&self.down)?)? * (scale * self.factor))?;
        change.reshape(weight.shape())
    }
}

/// A parsed LoRA file.
#[derive(Debug)]
pub struct LoraFile {
    path: PathBuf,
    deltas: BTreeMap<(LoraTarget, ModuleName), Delta>,
}

impl LoraFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is missing, truncated, or has tensors that are not finite or not those of a LoRA. The message names the
    /// file and the tensor.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let shards = Shards::open(path)?;
        let malformed = |message: String| LoadError::Malformed { path: path.into(), message };
        let mut modules: BTreeMap<(LoraTarget, ModuleName), Parts> = BTreeMap::new();
        for name in shards.names("") {
            let key = Key::parse(name)
                .ok_or_else(|| malformed(format!("the form of {} is not supported", Shown(name))))?;
            let parts = modules.entry((key.component, key.module)).or_default();
            let slot = match key.part {
                Part::Down => &mut parts.down,
                Part::Up => &mut parts.up,
                Part::Alpha => &mut parts.alpha,
            };
            *slot = Some(name.to_owned());
        }
        if modules.is_empty() {
            return Err(malformed("no tensors".into()));
        }
        let alphas = Alphas::of(&shards).map_err(malformed)?;
        let mut deltas = BTreeMap::new();
        for ((component, module), parts) in modules {
            let delta = parts.delta(&shards, |rank| alphas.factor(component, &module, rank));
            let delta = delta.map_err(|e| match e {
                Incomplete::Load(error) => error,
                Incomplete::Lacks(part) => malformed(format!("{module} of the {component} has no {part}")),
                Incomplete::Unusable(name, why) => malformed(format!("{} {why}", Shown(&name))),
            })?;
            deltas.insert((component, module), delta);
        }
        Ok(Self { path: path.into(), deltas })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Each change, with its component and module.
    pub fn deltas(&self) -> impl Iterator<Item = (LoraTarget, &ModuleName, &Delta)> {
        self.deltas.iter().map(|((component, module), delta)| (*component, module, delta))
    }

    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        self.deltas.values().map(|d| bytes(&d.up) + bytes(&d.down)).sum()
    }
}

/// The names of one module's tensors.
#[derive(Debug, Default)]
struct Parts {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

enum Incomplete {
    Load(LoadError),
    Lacks(&'static str),
    /// A tensor's name, and what is wrong with it.
    Unusable(String, String),
}

impl Parts {
    fn delta(self, shards: &Shards, unstated: impl Fn(usize) -> f64) -> Result<Delta, Incomplete> {
        let unusable = |name: String| {
            |error| match error {
                ReadError::Load(error) => Incomplete::Load(error),
                ReadError::Unusable(why) => Incomplete::Unusable(name, why),
            }
        };
        let matrix = |name: Option<String>, part| {
            let name = name.ok_or(Incomplete::Lacks(part))?;
            let tensor = shards.tensor(&name).map_err(unusable(name.clone()))?;
            match tensor.rank() {
                2 | 4 if tensor.elem_count() > 0 => Ok(tensor),
                _ => Err(Incomplete::Unusable(
                    name,
                    format!("has shape {:?} and is not a matrix", tensor.dims()),
                )),
            }
        };
        let (down, up) = (matrix(self.down, "lora_down or lora_A")?, matrix(self.up, "lora_up or lora_B")?);
        let rank = down.dims()[0];
        let factor = match self.alpha {
            None => unstated(rank),
            Some(name) => shards.scalar(&name).map_err(unusable(name))? / rank as f64,
        };
        Ok(Delta { down, up, factor })
    }
}
