//! The model that is measured.

use std::path::PathBuf;
use std::time::Duration;

use candle_core::{DType, Device};
use clap::Args;
use serde_json::{Map, Value, json};

use super::device::DeviceArg;
use super::error::MeasureError;
use super::times::Times;
use crate::dump::ComputeType;
use crate::pipeline::{Inputs, LoadOptions, Pipeline, SdxlPipeline};
use crate::sdxl::ConfigFiles;

/// The seed of the weights.
const SEED: u64 = 13;

/// Steps of a measured picture.
const STEPS: usize = 30;

/// The model and the device to measure.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub(super) device: DeviceArg,
    /// The shape of the model: a folder with the JSON files and tokenizers of a model in the diffusers layout.
    /// [default: SDXL base 1.0]
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The type to compute in. [default: f32 on the CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<ComputeType>,
    /// Records the UNet's step as a CUDA graph and replays it, as the worker's flag of this name does.
    #[arg(long)]
    cuda_graph: bool,
    /// Few repetitions and small matrices: only shows whether the measurement works.
    #[arg(long)]
    pub(super) small: bool,
}

impl BenchArgs {
    /// Loads the model.
    pub(super) fn load(&self, device: &Device) -> Result<SdxlPipeline, MeasureError> {
        let config = match &self.config {
            Some(folder) => ConfigFiles::Folder(folder.clone()),
            None => ConfigFiles::SdxlBase(""),
        };
        let options = LoadOptions {
            device: device.clone(),
            dtype: self.dtype(device),
            cuda_graph: self.cuda_graph,
            ..LoadOptions::cpu("")
        };
        Ok(SdxlPipeline::random(config, SEED, options)?)
    }

    fn dtype(&self, device: &Device) -> DType {
        match (self.dtype, device.is_cpu()) {
            (Some(dtype), _) => dtype.into(),
            (None, true) => DType::F32,
            (None, false) => DType::F16,
        }
    }
}

/// A loaded model.
pub(super) struct Bench {
    pub(super) device: Device,
    pub(super) pipeline: SdxlPipeline,
    pub(super) dtype: DType,
    small: bool,
}

impl Bench {
    pub(super) fn open(args: &BenchArgs) -> Result<Self, MeasureError> {
        let device = args.device.open()?;
        let (pipeline, dtype) = (args.load(&device)?, args.dtype(&device));
        Ok(Self { device, pipeline, dtype, small: args.small })
    }

    /// A picture in the model's own size.
    pub(super) fn inputs(&self) -> Inputs {
        inputs(&self.pipeline)
    }

    /// The times of `work`, at most `most` and as many as fit into some seconds. The first runs are not counted: they
    /// load kernels and choose algorithms.
    pub(super) fn time<T, E>(
        &self,
        most: usize,
        work: impl FnMut() -> Result<T, E>,
    ) -> Result<Times, MeasureError>
    where
        MeasureError: From<E>,
    {
        let (first, most, within) = if self.small { (1, most.min(3), 2) } else { (3, most, 15) };
        Times::of(&self.device, first, most, Duration::from_secs(within), work)
    }

    /// How many runs to time: `full`, or few with `--small`.
    pub(super) fn runs(&self, full: usize) -> usize {
        if self.small { full.min(2) } else { full }
    }

    /// The results, with what they were measured on.
    pub(super) fn report(&self, results: Value) -> Value {
        let Inputs { width, height, .. } = self.inputs();
        let mut report = Map::new();
        report.insert("width".into(), json!(width));
        report.insert("height".into(), json!(height));
        report.insert("dtype".into(), json!(self.dtype.as_str()));
        if let Value::Object(results) = results {
            report.extend(results);
        }
        Value::Object(report)
    }
}

/// A picture in the model's own size, with guidance.
pub(super) fn inputs(pipeline: &SdxlPipeline) -> Inputs {
    let described = pipeline.describe();
    let mut inputs =
        Inputs::new("a red heart on a white background", described.native_width, described.native_height);
    inputs.negative_prompt = Some("blurry, low quality".into());
    inputs.num_inference_steps = STEPS;
    inputs
}
