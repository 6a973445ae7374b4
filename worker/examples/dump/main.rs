//! Runs the requests of a `cases.json` and writes every intermediate to `OUT/NAME.safetensors`, to be
//! compared with what diffusers computed: `tools/parity/compare.py CASES_FOLDER OUT`.

mod case;
mod run;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::DType;
use case::Case;
use clap::{Parser, ValueEnum};
use glimpse_worker::pipeline::{LoadOptions, SdxlPipeline};
use glimpse_worker::sdxl::{LoadError, Precision};

#[derive(Debug, Parser)]
struct Args {
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
    /// The requests.
    #[arg(long)]
    cases: PathBuf,
    /// Run only one request.
    #[arg(long)]
    only: Option<String>,
    /// The type to compute in.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// The folder for the dumps; it is created if it does not exist.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

fn main() -> ExitCode {
    match dump(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the requests that can be run, and prints how many could not.
fn dump(args: &Args) -> Result<usize, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&args.out)?;
    let folder = args.cases.with_file_name("cases");
    let mut pipelines = HashMap::new();
    let mut failed = 0;
    for (name, case) in Case::read(&args.cases)? {
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let run = || -> Result<(), Box<dyn std::error::Error>> {
            let case = case?;
            let inputs = case.inputs(&folder)?;
            let pipeline = match pipelines.entry(case.precision() == Precision::Half) {
                Entry::Occupied(loaded) => loaded.into_mut(),
                Entry::Vacant(slot) => slot.insert(load(args, case.precision())?),
            };
            let tensors = run::run(pipeline, &inputs, &case.preview_steps)?;
            Ok(candle_core::safetensors::save(&tensors, args.out.join(format!("{name}.safetensors")))?)
        };
        if let Err(error) = run() {
            eprintln!("{name}: {error}");
            failed += 1;
        }
    }
    Ok(failed)
}

fn load(args: &Args, precision: Precision) -> Result<SdxlPipeline, LoadError> {
    SdxlPipeline::load(LoadOptions {
        config: args.config.clone(),
        vae: args.vae.clone(),
        taesd: Some(args.taesd.clone()),
        dtype: match args.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        },
        precision,
        max_pixels: u64::MAX,
        ..LoadOptions::cpu(&args.model)
    })
}
