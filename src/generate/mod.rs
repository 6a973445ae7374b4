//! `glimpse generate`: one picture from the command line.

mod failure;
mod input;
mod local;
mod output;
mod progress;
mod remote;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    id::App,
    request::ImageRequest,
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::config::ModelConfig;

use failure::Failure;
use input::LoraArg;
use output::{Output, PreviewDir};
use progress::Progress;

/// Flags of `glimpse generate`.
#[derive(Debug, Parser)]
pub struct Args {
    /// What to draw.
    prompt: String,
    /// Where the picture goes; the ending (.jpg, .png or .webp) chooses the format.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Denoising steps, 1 to 50. [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<i64>,
    /// Pixels, a multiple of 8. [default: the model's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    width: Option<i64>,
    /// Pixels, a multiple of 8. [default: the model's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    height: Option<i64>,
    /// The same seed gives the same picture. [default: a random one, told at the end]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// What not to draw.
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// A picture to begin from: PNG, JPEG or WebP.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Where to repaint it: a picture, of which white is repainted.
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// How much of the picture is made anew, above 0 to 1. [default: 0.3, with a mask 0.9999]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, requires = "image")]
    strength: Option<f64>,
    /// A LoRA under the workers' folder of them, and how much of it; may be given several times. [default scale: 1]
    #[arg(long = "lora", value_name = "NAME[:SCALE]")]
    loras: Vec<LoraArg>,
    /// How far the spread of the guided prediction is brought back, 0 to 1. [default: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    guidance_rescale: Option<f64>,
    /// Layers of the text encoders to leave out, 0 to 12. [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    clip_skip: Option<i64>,
    /// Where previews go, as they come: `preview-STEP.jpg`.
    #[arg(long, value_name = "DIR")]
    preview_dir: Option<PathBuf>,
    /// The server to ask; without one the picture is made in this process.
    #[arg(long, env = "GLIMPSE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The server's app. [default: the only one]
    #[arg(long, env = "GLIMPSE_APP", value_name = "OWNER/NAME")]
    app: Option<App>,
    #[command(flatten)]
    model: ModelConfig,
    /// What is logged on standard error: a level, or `target=level,…` as in tracing's EnvFilter.
    #[arg(long, env = "GLIMPSE_LOG", default_value = "warn", value_parser = telemetry::filter)]
    log: String,
}

/// Makes the picture. 0: done, 1: unforeseen, 2: bad input or refused, 3: server not reachable, 4: the job
/// failed, 130: Ctrl-C.
pub async fn run(args: Args) -> ExitCode {
    telemetry::init(&LogConfig { log_format: LogFormat::Text, log: args.log.clone() });
    match generate(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("glimpse: {failure}");
            failure.exit_code()
        }
    }
}

/// A finished picture.
struct Picture {
    encoded: Vec<u8>,
    seed: u64,
}

async fn generate(args: Args) -> Result<(), Failure> {
    let output = Output::new(args.output)?;
    let previews = args.preview_dir.map(PreviewDir::new).transpose()?;
    let request = ImageRequest {
        prompt: args.prompt,
        negative_prompt: args.negative_prompt,
        num_inference_steps: args.steps,
        width: args.width,
        height: args.height,
        guidance_rescale: args.guidance_rescale,
        clip_skip: args.clip_skip,
        loras: args.loras.into_iter().map(|LoraArg(lora)| lora).collect(),
        image: args.image.map(|path| input::picture("image", &path)).transpose()?,
        mask: args.mask.map(|path| input::picture("mask", &path)).transpose()?,
        strength: args.strength,
        seed: args.seed,
        output_format: Some(output.format()),
    };
    let progress = Progress::new();
    let picture = match &args.server {
        Some(server) => remote::make(server, args.app, &request, &progress, previews.as_ref()).await,
        None => tokio::select! {
            picture = local::make(&args.model, &request, &progress, previews.as_ref()) => picture,
            // The pipeline's thread ends with the process.
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        },
    };
    progress.end();
    let Picture { encoded, seed } = picture?;
    output.write(&encoded)?;
    eprintln!("{} (seed {seed})", output.path().display());
    Ok(())
}
