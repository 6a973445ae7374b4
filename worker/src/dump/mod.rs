//! Writes every intermediate tensor of the requests of a `cases.json`. Then `tools/parity/compare.py CASES_FOLDER OUT`
//! compares them with diffusers'. The example `dump` and `glimpse measure dump` run it.

mod case;
mod run;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use candle_core::{DType, Device};

use crate::pipeline::{LoadOptions, SdxlPipeline};
use crate::sdxl::{LoadError, Precision};

pub use case::{Case, Named};
pub use run::{Tensors, run};

/// What to dump, and where.
#[derive(Debug, clap::Args)]
pub struct DumpArgs {
    /// The checkpoint: a folder in the diffusers layout, or a `.safetensors` file in SGM naming.
    #[arg(long, value_name = "DIR_OR_FILE")]
    model: PathBuf,
    /// JSON files and tokenizers, in the diffusers layout. [default: the folder's own; a file's: SDXL base 1.0's]
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Another autoencoder than the checkpoint's.
    #[arg(long, value_name = "DIR")]
    vae: Option<PathBuf>,
    /// Folder of the preview decoder.
    #[arg(long, value_name = "DIR")]
    taesd: PathBuf,
    /// The requests: a `cases.json`.
    #[arg(long)]
    cases: PathBuf,
    /// Runs only the request of this name.
    #[arg(long)]
    only: Option<String>,
    /// The type to compute in.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: ComputeType,
    /// The folder for the dumps; it is created if it does not exist.
    #[arg(long)]
    out: PathBuf,
}

/// A type to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ComputeType {
    /// float32.
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
}

impl From<ComputeType> for DType {
    fn from(dtype: ComputeType) -> Self {
        match dtype {
            ComputeType::F32 => Self::F32,
            ComputeType::F16 => Self::F16,
            ComputeType::Bf16 => Self::BF16,
        }
    }
}

impl DumpArgs {
    /// Runs the requests that can be run, on `device`. Prints what is wrong with the others, and returns their number.
    ///
    /// # Errors
    /// If the file of requests cannot be read or the folder for the dumps cannot be made.
    pub fn dump(&self, device: &Device) -> Result<usize, Box<dyn std::error::Error>> {
        std::fs::create_dir_all(&self.out)?;
        let folder = self.cases.with_file_name("cases");
        let mut pipelines = HashMap::new();
        let mut failed = 0;
        for (name, case) in Case::read(&self.cases)? {
            if self.only.as_ref().is_some_and(|only| *only != name) {
                continue;
            }
            let run = || -> Result<(), Box<dyn std::error::Error>> {
                let case = case?;
                let inputs = case.inputs(&folder)?;
                let refiner = case.refiner(&folder);
                let pipeline = match pipelines.entry((case.precision() == Precision::Half, refiner.clone())) {
                    Entry::Occupied(loaded) => loaded.into_mut(),
                    Entry::Vacant(slot) => slot.insert(self.load(device, case.precision(), refiner)?),
                };
                let tensors = run::run(pipeline, &inputs, &case.preview_steps)?;
                Ok(candle_core::safetensors::save(&tensors, self.out.join(format!("{name}.safetensors")))?)
            };
            if let Err(error) = run() {
                eprintln!("{name}: {error}");
                failed += 1;
            }
        }
        Ok(failed)
    }

    fn load(
        &self,
        device: &Device,
        precision: Precision,
        refiner: Option<PathBuf>,
    ) -> Result<SdxlPipeline, LoadError> {
        SdxlPipeline::load(LoadOptions {
            config: self.config.clone(),
            vae: self.vae.clone(),
            taesd: Some(self.taesd.clone()),
            device: device.clone(),
            dtype: self.dtype.into(),
            precision,
            refiner,
            max_pixels: u64::MAX,
            ..LoadOptions::cpu(&self.model)
        })
    }
}
