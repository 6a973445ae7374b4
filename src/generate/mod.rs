//! `glimpse generate`: pictures from the command line.

mod failure;
mod input;
mod local;
mod made;
mod output;
mod progress;
mod remote;
mod say;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    id::App,
    request::{ImageRequest, OutputFormat, PreviewSource},
    shutdown::{self, Shutdown},
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::config::ModelConfig;

use failure::Failure;
use input::LoraArg;
use made::Made;
use output::{Output, PreviewDir};
use progress::Progress;
use say::say;

/// Flags of `glimpse generate`.
#[derive(Debug, Parser)]
pub struct Args {
    /// What to draw; `-` reads it from standard input.
    prompt: String,
    /// Where the picture goes; the ending (.jpg, .png or .webp) chooses the format. Several pictures get a number
    /// before it: `fox-1.png`, `fox-2.png`. `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How pictures are encoded where no ending says it: jpeg, png or webp. [default: jpeg]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    output_format: Option<OutputFormat>,
    /// How many pictures to make, 1 to 4. [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    num_images: Option<i64>,
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
    /// What not to draw. [default: blurry, low quality]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    negative_prompt: Option<String>,
    /// How strongly the prompt pulls, 0 to 30. [default: 5]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true, value_parser = finite)]
    guidance_scale: Option<f64>,
    /// A sampler, as diffusers names it. [default: the model's own]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// A picture to begin from: PNG, JPEG or WebP.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Where to repaint it: a picture, of which white is repainted.
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// How much of the picture is made anew, above 0 to 1. [default: 0.3, with a mask 0.9999]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, requires = "image", value_parser = finite)]
    strength: Option<f64>,
    /// A LoRA under the workers' folder of them, and how much of it; may be given several times. [default scale: 1]
    #[arg(long = "lora", value_name = "NAME[:SCALE]")]
    loras: Vec<LoraArg>,
    /// How far the spread of the guided prediction is brought back, 0 to 1. [default: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = finite)]
    guidance_rescale: Option<f64>,
    /// Layers of the text encoders to leave out, 0 to 12. [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    clip_skip: Option<i64>,
    /// Where previews go, as they come: `preview-STEP.jpg`.
    #[arg(long, value_name = "DIR")]
    preview_dir: Option<PathBuf>,
    /// Steps from one preview to the next, 0 (no previews) to 50. [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    preview_every: Option<i64>,
    /// What previews show: denoised (what the picture will be) or latents (what the sampler holds).
    /// [default: denoised]
    #[arg(long, value_name = "SOURCE", value_parser = preview_source)]
    preview_source: Option<PreviewSource>,
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

/// JSON has no word for other numbers, and a request would leave them out.
fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "should be a finite number".to_owned())
}

fn format(text: &str) -> Result<OutputFormat, String> {
    match text {
        "jpeg" => Ok(OutputFormat::Jpeg),
        "png" => Ok(OutputFormat::Png),
        "webp" => Ok(OutputFormat::Webp),
        _ => Err("should be jpeg, png or webp".to_owned()),
    }
}

fn preview_source(text: &str) -> Result<PreviewSource, String> {
    match text {
        "latents" => Ok(PreviewSource::Latents),
        "denoised" => Ok(PreviewSource::Denoised),
        _ => Err("should be denoised or latents".to_owned()),
    }
}

/// Makes the pictures. 0: done, 1: unforeseen, 2: bad input or refused, 3: server not reachable, 4: the job
/// failed, 130: Ctrl-C, 143: SIGTERM. A second signal ends the process at once.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    telemetry::init(&LogConfig { log_format: LogFormat::Text, log: args.log.clone() });
    match generate(args, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("glimpse: {failure}"));
            if let Failure::Interrupted(signal) = failure {
                shutdown::leave(signal.exit_code());
            }
            failure.exit_code()
        }
    }
}

async fn generate(args: Args, shutdown: &Shutdown) -> Result<(), Failure> {
    let output = Output::new(args.output, args.output_format, args.num_images)?;
    let previews = args.preview_dir.map(PreviewDir::new).transpose()?;
    let request = ImageRequest {
        prompt: input::prompt(args.prompt)?,
        negative_prompt: args.negative_prompt,
        num_inference_steps: args.steps,
        width: args.width,
        height: args.height,
        guidance_scale: args.guidance_scale,
        guidance_rescale: args.guidance_rescale,
        clip_skip: args.clip_skip,
        loras: args.loras.into_iter().map(|LoraArg(lora)| lora).collect(),
        image: args.image.map(|path| input::picture("image", &path)).transpose()?,
        mask: args.mask.map(|path| input::picture("mask", &path)).transpose()?,
        strength: args.strength,
        seed: args.seed,
        num_images: args.num_images,
        scheduler: args.scheduler,
        preview_every: args.preview_every,
        preview_source: args.preview_source,
        output_format: Some(output.format()),
    };
    let progress = Progress::new();
    let made = match &args.server {
        Some(server) => {
            remote::make(server, args.app, &request, &progress, previews.as_ref(), shutdown).await
        }
        None => tokio::select! {
            made = local::make(&args.model, &request, &progress, previews.as_ref()) => made,
            // The pipeline's thread ends with the process.
            signal = shutdown.requested() => Err(Failure::Interrupted(signal)),
        },
    };
    progress.end();
    let Made { encoded, seed, warnings } = made?;
    let places = output.write(&encoded)?;
    for warning in warnings {
        say(format_args!("glimpse: warning: {}", warning.message));
    }
    for place in places {
        say(format_args!("{place} (seed {seed})"));
    }
    Ok(())
}
