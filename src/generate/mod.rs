//! `glimpse generate`: generates pictures from the command line.

mod asked;
mod event;
mod failure;
mod follow;
mod from;
mod input;
mod local;
mod made;
mod output;
mod prompts;
mod remote;
mod say;
mod view;
mod work;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    id::App,
    prompt::PromptSyntax,
    request::{ImageRequest, OutputFormat, PreviewSource, limits::ALPHA},
    shutdown::{self, Shutdown},
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::{config::ModelConfig, recipes::MetadataConfig};
use serde_json::Value;

use asked::Asked;
pub use failure::{EXIT_CODES, Failure};
use from::RecipeFile;
use input::{ControlNetArg, EmbeddingArg, LoraArg};
use local::Local;
pub use output::{Output, PreviewDir};
pub use remote::Server;
pub use say::say;
pub use view::{Shown, View};
use work::{At, Outputs, Place, Task};

/// How many jobs of --prompts a server has at a time, if the flag does not say.
const PARALLEL: u8 = 4;

/// Flags of `glimpse generate`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// The prompt; `-` reads it from standard input.
    #[arg(required_unless_present_any = ["prompts", "from"])]
    prompt: Option<String>,
    /// A file with a prompt on each line; `-` is standard input. Blank lines and lines that begin with `#` are skipped. Each
    /// prompt is a job of its own: if one fails, the others go on, and the exit code is that of the first that failed. The
    /// number of the prompt stands in the names of its pictures: `fox-1.png`, or `fox-1-1.png` of several.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompts: Option<PathBuf>,
    /// How many jobs of --prompts a server has at a time, 1 to 64. In this process it is always one. [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: Option<u8>,
    /// A picture to make again, by the recipe that it carries (PNG, JPEG or WebP). Other flags say what shall be
    /// different.
    #[arg(long, value_name = "PICTURE")]
    from: Option<PathBuf>,
    /// The file to write; its extension (.jpg, .png or .webp) selects the format. Several pictures are numbered:
    /// `fox-1.png`, `fox-2.png`. `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// jpeg, png or webp: the format for `-o -` (default jpeg), and for a file without such an extension (required).
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    output_format: Option<OutputFormat>,
    /// The number of pictures, 1 to 4. [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    num_images: Option<i64>,
    /// Denoising steps, 1 to 50. [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<i64>,
    /// The width in pixels, a multiple of 8. [default: the model's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    width: Option<i64>,
    /// The height in pixels, a multiple of 8. [default: the model's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    height: Option<i64>,
    /// The seed; the same seed gives the same picture. [default: random, printed at the end]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// A seed for each picture, separated by commas: each is then the picture of this seed alone.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        conflicts_with = "seed"
    )]
    seeds: Vec<i64>,
    /// What to avoid. [default: blurry, low quality]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    negative_prompt: Option<String>,
    /// The weight of the prompt (classifier-free guidance), 0 to 30. [default: 5]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true, value_parser = finite)]
    guidance_scale: Option<f64>,
    /// The sampler, such as `DPM++ 2M Karras`, or by its name in diffusers. [default: the model's own]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// Changes to the sampler's configuration, such as `{"timestep_spacing":"trailing"}`.
    #[arg(long, value_name = "JSON", value_parser = json)]
    scheduler_config: Option<Value>,
    /// The noise levels of the steps, separated by commas; the last is that after the last step.
    #[arg(long, value_name = "LEVEL,…", value_delimiter = ',', allow_negative_numbers = true, value_parser = finite)]
    sigmas: Vec<f64>,
    /// The timesteps of the steps, 999 to 0, separated by commas.
    #[arg(long, value_name = "T,…", value_delimiter = ',', allow_negative_numbers = true)]
    timesteps: Vec<i64>,
    /// How much noise a step adds, for the samplers that have it, 0 to 1.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = finite)]
    eta: Option<f64>,
    /// Sampler, steps and guidance for a model of few steps: lightning, turbo, hyper, lcm or dmd2.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// A picture to start from: PNG, JPEG, WebP or GIF (its first frame).
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A mask of the same picture: white areas are repainted. `alpha`: where the picture is transparent.
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// How much of the picture may change, above 0 to 1. [default: 0.3, with a mask 0.9999]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, requires = "image", value_parser = finite)]
    strength: Option<f64>,
    /// Where the model's refiner goes on (see --refiner), as a share of the noise: above 0 to 0.999.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = finite)]
    denoising_end: Option<f64>,
    /// What a refiner is told of the picture, 0 to 10. [default: 6]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = finite)]
    aesthetic_score: Option<f64>,
    /// What a refiner is told of what the picture is not to be, 0 to 10. [default: 2.5]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = finite)]
    negative_aesthetic_score: Option<f64>,
    /// Repaints only the part around the mask, with this margin in pixels, and pastes it back: 0 to 256.
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, requires = "mask")]
    padding_mask_crop: Option<i64>,
    /// A second pass at a larger size, such as `{"scale":1.5,"strength":0.4,"steps":20}`.
    #[arg(long, value_name = "JSON", value_parser = json)]
    hires: Option<Value>,
    /// How the prompts are read: plain, or a1111 (emphasis, BREAK and `<lora:NAME:SCALE>` as in AUTOMATIC1111's web UI).
    /// [default: plain]
    #[arg(long, value_name = "SYNTAX", value_parser = prompt_syntax)]
    prompt_syntax: Option<PromptSyntax>,
    /// Reads a long prompt in chunks; without this its end has no effect in the plain syntax.
    #[arg(long)]
    long_prompt: bool,
    /// A LoRA and its scale; may be repeated. A file of the LoRA folder, or where it is allowed a URL or
    /// `hf://OWNER/NAME`. `:unet_scale=NUMBER` and `:text_scale=NUMBER` after it are the scales in a part of the model.
    /// [default scale: 1]
    #[arg(long = "lora", value_name = "NAME[:SCALE][:MEMBER=NUMBER]…")]
    loras: Vec<LoraArg>,
    /// A ControlNet of the ControlNet folder, its picture and its scale (0 to 2); may be repeated. Where it is allowed,
    /// the name may be `OWNER/NAME` on the Hub, `hf://…` or a URL without a query. `=canny:PICTURE` finds the edges of
    /// the picture first, and `=mode3:PICTURE` says its kind for a union ControlNet. The members `start`, `end`,
    /// `low_threshold` and `high_threshold` follow as `:end=0.5`. [default scale: 1]
    #[arg(long = "controlnet", value_name = "NAME=[modeN:][canny:]PICTURE[:SCALE][:MEMBER=NUMBER]…")]
    controlnets: Vec<ControlNetArg>,
    /// An embedding (textual inversion) and its word in the prompts; may be repeated. A file of the folder of embeddings,
    /// or where it is allowed a URL or `hf://OWNER/NAME`. A URL with a query has no word here. [default word: the name of
    /// the file]
    #[arg(long = "embedding", value_name = "NAME[=WORD]")]
    embeddings: Vec<EmbeddingArg>,
    /// How far guidance is rescaled against overexposure, 0 to 1. [default: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = finite)]
    guidance_rescale: Option<f64>,
    /// The number of last layers of the text encoders to skip, 0 to 12. [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    clip_skip: Option<i64>,
    /// A folder for previews, written as they arrive: `preview-STEP.jpg`.
    #[arg(long, value_name = "DIR")]
    preview_dir: Option<PathBuf>,
    /// The number of steps between previews, 0 (no previews) to 50. [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    preview_every: Option<i64>,
    /// What previews show: denoised (the predicted picture) or latents (the sampler's noisy state).
    /// [default: denoised]
    #[arg(long, value_name = "SOURCE", value_parser = preview_source)]
    preview_source: Option<PreviewSource>,
    #[command(flatten)]
    shown: Shown,
    /// The server to use; without one the picture is generated in this process.
    #[arg(long, env = "GLIMPSE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The key for the server, if it has keys; better in the variable, because other users see arguments.
    #[arg(long, env = "GLIMPSE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// The server's app; required if the server has several.
    #[arg(long, env = "GLIMPSE_APP", value_name = "OWNER/NAME")]
    app: Option<App>,
    #[command(flatten)]
    model: ModelConfig,
    #[command(flatten)]
    metadata: MetadataConfig,
    /// What to log on standard error: a level, or `target=level,…` as in tracing's EnvFilter.
    #[arg(long, env = "GLIMPSE_LOG", default_value = "warn", value_parser = telemetry::filter)]
    log: String,
}

/// A finite number: JSON cannot represent others.
fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "should be a finite number".to_owned())
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("should be JSON: {error}"))
}

fn format(text: &str) -> Result<OutputFormat, String> {
    match text {
        "jpeg" => Ok(OutputFormat::Jpeg),
        "png" => Ok(OutputFormat::Png),
        "webp" => Ok(OutputFormat::Webp),
        _ => Err("should be jpeg, png or webp".to_owned()),
    }
}

fn prompt_syntax(text: &str) -> Result<PromptSyntax, String> {
    match text {
        "plain" => Ok(PromptSyntax::Plain),
        "a1111" => Ok(PromptSyntax::A1111),
        _ => Err("should be plain or a1111".to_owned()),
    }
}

fn preview_source(text: &str) -> Result<PreviewSource, String> {
    match text {
        "latents" => Ok(PreviewSource::Latents),
        "denoised" => Ok(PreviewSource::Denoised),
        _ => Err("should be denoised or latents".to_owned()),
    }
}

/// Generates the pictures; see [`EXIT_CODES`]. A second signal ends the process at once.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    telemetry::init(&LogConfig { log_format: LogFormat::Text, log: args.log.clone() });
    let failure = match generate(args, shutdown).await {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(failure)) => failure,
        Err(failure) => {
            say(format_args!("glimpse: {failure}"));
            failure
        }
    };
    if let Failure::Interrupted(signal) = failure {
        shutdown::leave(signal.exit_code());
    }
    failure.exit_code()
}

/// Returns a failure that has been shown already.
///
/// # Errors
/// What is wrong before the first job begins.
async fn generate(args: Args, shutdown: &Shutdown) -> Result<Option<Failure>, Failure> {
    let outputs = Outputs {
        file: args.output,
        format: args.output_format,
        count: args.num_images.or(Some(args.seeds.len() as i64).filter(|count| *count > 0)),
        preview_dir: args.preview_dir,
    };
    args.shown.check(&outputs.file)?;
    if args.parallel.is_some() && args.prompts.is_none() {
        return Err(Failure::BadInput(
            "--parallel: it goes with --prompts, and there is one prompt".to_owned(),
        ));
    }
    let only = args.prompts.is_none().then(|| outputs.of(None)).transpose()?;
    // Standard input and named pipes may never end.
    let read = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
        let picture = |flag, path: Option<PathBuf>| path.map(|path| input::picture(flag, &path)).transpose();
        let controlnets = args.controlnets.into_iter().map(ControlNetArg::read).collect::<Result<_, _>>()?;
        let image = picture("image", args.image)?;
        let mask = match args.mask {
            Some(word) if word.as_os_str() == ALPHA => Some(ALPHA.to_owned()),
            file => picture("mask", file)?,
        };
        let prompts = match (args.prompts, args.prompt) {
            (Some(file), _) => prompts::of_file(&file)?.into_iter().map(Some).collect(),
            (None, Some(prompt)) => vec![Some(prompts::given(prompt)?)],
            // That of the picture.
            (None, None) => vec![None],
        };
        let from = args.from.map(RecipeFile::read).transpose()?;
        Ok((prompts, from, image, mask, controlnets))
    });
    let (prompts, from, image, mask, controlnets) = tokio::select! {
        read = read => read.map_err(Failure::unforeseen)??,
        signal = shutdown.requested() => return Err(Failure::Interrupted(signal)),
    };
    let flags = ImageRequest {
        prompt: String::new(),
        negative_prompt: args.negative_prompt,
        num_inference_steps: args.steps,
        width: args.width,
        height: args.height,
        guidance_scale: args.guidance_scale,
        guidance_rescale: args.guidance_rescale,
        clip_skip: args.clip_skip,
        prompt_syntax: args.prompt_syntax,
        long_prompt: args.long_prompt.then_some(true),
        loras: args.loras.into_iter().map(|LoraArg(lora)| lora).collect(),
        controlnets,
        image,
        mask,
        strength: args.strength,
        denoising_end: args.denoising_end,
        aesthetic_score: args.aesthetic_score,
        negative_aesthetic_score: args.negative_aesthetic_score,
        padding_mask_crop: args.padding_mask_crop,
        hires: args.hires,
        embeddings: args.embeddings.into_iter().map(|EmbeddingArg(embedding)| embedding).collect(),
        seed: args.seed,
        seeds: args.seeds,
        num_images: args.num_images,
        scheduler: args.scheduler,
        scheduler_config: args.scheduler_config,
        sigmas: args.sigmas,
        timesteps: args.timesteps,
        eta: args.eta,
        preset: args.preset,
        preview_every: args.preview_every,
        preview_source: args.preview_source,
        output_format: None,
        metadata: args.metadata.no_metadata.then_some(false),
    };
    let asked = Asked { flags, from };
    let tasks: Vec<Task> = match only {
        Some(to) => {
            prompts.into_iter().next().map(|prompt| Task::new(None, prompt, to)).into_iter().collect()
        }
        None => {
            let tasks = prompts.into_iter().enumerate().map(|(i, prompt)| {
                let number = Some(i + 1);
                Ok(Task::new(number, prompt, outputs.of(number)?))
            });
            tasks.collect::<Result<_, Failure>>()?
        }
    };
    let at_a_time =
        if args.server.is_some() { tasks.len().min(args.parallel.unwrap_or(PARALLEL).into()) } else { 1 };
    let view = View::new(args.shown, at_a_time);
    let place = async {
        Ok::<_, Failure>(match &args.server {
            Some(server) => {
                let server = Server::new(server, args.key.as_deref())?;
                asked.check_on(&server, args.app.is_some()).await?;
                let app = match args.app.or_else(|| asked.app()) {
                    Some(app) => app,
                    None => server.only_app().await?,
                };
                Place::Server { server, app }
            }
            None => Place::Here(Box::new(Local::load(args.model, &args.metadata).await?)),
        })
    };
    let place = tokio::select! {
        place = place => place?,
        signal = shutdown.requested() => return Err(Failure::Interrupted(signal)),
    };
    let at = At { asked: &asked, place: &place, view: &view, shutdown };
    Ok(work::run(tasks, at, at_a_time).await)
}
