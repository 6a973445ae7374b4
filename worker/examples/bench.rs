//! Measures the parts of one picture: `cargo run --release -p glimpse-worker --example bench`.
//!
//! Prints one line of JSON, in milliseconds: the minimum of several runs, because other work on the machine only adds
//! time. `bench/diffusers_bench.py` prints the same for diffusers.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use glimpse_worker::pipeline::{
    Inputs, LoadOptions, Pipeline, PipelineError, PreviewKind, SdxlDenoising, SdxlPipeline, parse_device,
};

#[derive(Debug, Parser)]
struct Args {
    /// Folder of the checkpoint.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo"))]
    model: PathBuf,
    /// Folder of the preview decoder; `taesd` in the model's folder by default.
    #[arg(long)]
    taesd: Option<PathBuf>,
    /// auto, cpu, cuda:N or metal:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Steps of the picture.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Side of the picture in pixels; the model's own size by default.
    #[arg(long)]
    size: Option<u32>,
    /// Pictures to time.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// The times of the parts of one picture, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    begin: f64,
    step: f64,
    preview: f64,
    checkpoint: f64,
    checkpoint_bytes: usize,
    finish: f64,
    /// The whole picture without previews.
    picture: f64,
}

impl Times {
    fn smaller(self, other: Self) -> Self {
        Self {
            begin: self.begin.min(other.begin),
            step: self.step.min(other.step),
            preview: self.preview.min(other.preview),
            checkpoint: self.checkpoint.min(other.checkpoint),
            checkpoint_bytes: self.checkpoint_bytes.min(other.checkpoint_bytes),
            finish: self.finish.min(other.finish),
            picture: self.picture.min(other.picture),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let started = Instant::now();
    let pipeline = SdxlPipeline::load(LoadOptions {
        taesd: args.taesd,
        device: parse_device(&args.device)?,
        ..LoadOptions::cpu(args.model)
    })?;
    let load = started.elapsed().as_secs_f64() * 1e3;
    let described = pipeline.describe();
    let side = args.size.unwrap_or(described.native_width);
    let mut inputs = Inputs::new("a red heart on a white background", side, side);
    inputs.negative_prompt = Some("blurry, low quality".into());
    inputs.num_inference_steps = args.steps;
    pipeline.warm()?;
    let mut best = one_picture(&pipeline, &inputs)?;
    for _ in 1..args.runs {
        best = best.smaller(one_picture(&pipeline, &inputs)?);
    }
    let report = serde_json::json!({
        "device": described.device,
        "size": side,
        "steps": args.steps,
        "load_ms": round(load),
        "encode_prompts_ms": round(best.begin),
        "step_ms": round(best.step),
        "preview_ms": round(best.preview),
        "checkpoint_ms": round(best.checkpoint),
        "checkpoint_bytes": best.checkpoint_bytes,
        "decode_ms": round(best.finish),
        "picture_ms": round(best.picture),
    });
    use std::io::Write;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn one_picture(pipeline: &SdxlPipeline, inputs: &Inputs) -> Result<Times, PipelineError> {
    let (mut denoising, begin) = timed(|| pipeline.begin(inputs))?;
    let ((), steps) = timed(|| all_steps(pipeline, &mut denoising))?;
    let (_, preview) = timed(|| pipeline.preview(&denoising, PreviewKind::Latents))?;
    let (kept, checkpoint) = timed(|| pipeline.checkpoint(&denoising))?;
    let taken = pipeline.progress(&denoising).steps;
    let (_, finish) = timed(|| pipeline.finish(denoising))?;
    Ok(Times {
        begin,
        step: steps / taken as f64,
        preview,
        checkpoint,
        checkpoint_bytes: kept.len(),
        finish,
        picture: begin + steps + finish,
    })
}

fn all_steps(pipeline: &SdxlPipeline, denoising: &mut SdxlDenoising) -> Result<(), PipelineError> {
    while !pipeline.progress(denoising).is_done() {
        pipeline.step(&mut [&mut *denoising])?;
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<(T, f64), PipelineError> {
    let started = Instant::now();
    let done = work()?;
    Ok((done, started.elapsed().as_secs_f64() * 1e3))
}

fn round(milliseconds: f64) -> f64 {
    (milliseconds * 100.0).round() / 100.0
}
