//! `glimpse measure`: the speed and the memory of each part of a job on one device. The model has random weights, so no
//! checkpoint is needed. `scripts/gpu-check` runs every part in a process of its own and collects the results.

mod bench;
mod ceilings;
mod controlnet;
mod device;
mod draw;
mod error;
mod facts;
mod jobs;
mod lora;
mod memory;
mod meter;
mod stages;
mod steps;
mod times;

use clap::Subcommand;
use serde_json::{Value, json};

use self::bench::{Bench, BenchArgs};
use self::device::DeviceArg;
use self::draw::DrawArgs;
use crate::dump::DumpArgs;

pub use error::MeasureError;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// The device, and how fast it copies memory and multiplies matrices.
    Device(BenchArgs),
    /// One step of the UNet with guidance.
    Unet(BenchArgs),
    /// Both text encoders, for a prompt and a negative prompt.
    Text(BenchArgs),
    /// The decoder of the autoencoder.
    Vae(BenchArgs),
    /// The decoder of previews.
    Taesd(BenchArgs),
    /// From a decoder's output to bytes, and to JPEG.
    Pixels(BenchArgs),
    /// A whole picture, with previews and without.
    EndToEnd(BenchArgs),
    /// Steps of 1, 2 and 4 pictures at once.
    Batch(BenchArgs),
    /// A job with another set of LoRAs than the job before.
    Lora(BenchArgs),
    /// Steps with a ControlNet and without.
    Controlnet(BenchArgs),
    /// The peak of memory in each phase of a job.
    Memory(BenchArgs),
    /// Loads the model, warms up and makes one picture, as a worker does when it starts.
    FirstPicture(BenchArgs),
    /// Runs the requests of a `cases.json` and writes all intermediate tensors, for `tools/parity/compare.py`.
    Dump {
        /// Where to run them.
        #[command(flatten)]
        device: DeviceArg,
        /// What to run.
        #[command(flatten)]
        dump: DumpArgs,
    },
    /// Writes normal numbers of a generator, to be compared with those of torch.
    Draw(DrawArgs),
}

impl Part {
    /// Measures, and returns a JSON object. Names of numbers end in their unit.
    ///
    /// # Errors
    /// If the device cannot be used, or the measurement fails.
    pub fn run(&self) -> Result<Value, MeasureError> {
        match self {
            Self::Device(args) => {
                let device = args.device.open()?;
                let ceilings = ceilings::measure(&device, args.small)?;
                Ok(json!({ "facts": facts::of(&device)?, "ceilings": ceilings }))
            }
            Self::Unet(args) => steps::unet(&Bench::open(args)?),
            Self::Text(args) => stages::text(&Bench::open(args)?),
            Self::Vae(args) => stages::vae(&Bench::open(args)?),
            Self::Taesd(args) => stages::taesd(&Bench::open(args)?),
            Self::Pixels(args) => stages::pixels(&Bench::open(args)?),
            Self::EndToEnd(args) => jobs::end_to_end(&Bench::open(args)?),
            Self::Batch(args) => steps::batch(&Bench::open(args)?),
            Self::Lora(args) => lora::change(&Bench::open(args)?),
            Self::Controlnet(args) => controlnet::cost(&Bench::open(args)?),
            Self::Memory(args) => memory::peaks(args),
            Self::FirstPicture(args) => jobs::first_picture(args),
            Self::Dump { device, dump } => match dump.dump(&device.open()?) {
                Ok(0) => Ok(json!({})),
                Ok(failed) => {
                    Err(MeasureError::Failed(format!("{failed} requests failed: the lines above say why")))
                }
                Err(error) => Err(MeasureError::Failed(error.to_string())),
            },
            Self::Draw(args) => args.draw(),
        }
    }
}
