//! The worker's flags. Their docs are the help texts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::{DType, Device};
use clap::builder::FalseyValueParser;
use glimpse_shared::{
    id::App,
    outbound::{AddressPolicy, TrustedHost},
    request::{MAX_PIXELS, MIN_PIXELS},
};

use crate::{
    controlnet_dir::ControlNetDir,
    hub::{self, HubError, HubOptions, ModelKind},
    loras::{Downloader, LoraDir, Loras, Shelf, UrlLimits, UrlLoader},
    noise::GeneratorKind,
    pipeline::{LoadOptions, SdxlPipeline, describe_device, parse_device},
    sdxl::{LoadError, Precision},
    verify,
};

/// Which model to load, and onto what.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelConfig {
    /// An SDXL checkpoint: a folder in the diffusers layout, a single `.safetensors` file, or `OWNER/NAME` on the
    /// Hugging Face Hub, with `@REVISION` for another revision than `main`. A Hub model is downloaded once, into the
    /// Hub's cache. `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` work as in Hugging Face's own tools.
    #[arg(long, env = "GLIMPSE_MODEL", value_name = "DIR_FILE_OR_HUB_ID")]
    pub model: Option<PathBuf>,

    /// A folder in the diffusers layout, whose JSON files and tokenizers are used. Marks in the model's file (v
    /// prediction, zero terminal SNR) override it. [default: the model's own; for a single file, SDXL base 1.0]
    #[arg(long, env = "GLIMPSE_CONFIG", value_name = "DIR")]
    pub config: Option<PathBuf>,

    /// Another autoencoder than the model's, such as one that works in float16: a folder, a file or its name on the
    /// Hub.
    #[arg(long, env = "GLIMPSE_VAE", value_name = "DIR_FILE_OR_HUB_ID")]
    pub vae: Option<PathBuf>,

    /// A refiner for the last steps of requests with `denoising_end`: a folder, a file or its name on the Hub, as
    /// `--model`. Both models are in the device's memory. [default: none]
    #[arg(long, env = "GLIMPSE_REFINER", value_name = "DIR_FILE_OR_HUB_ID")]
    pub refiner: Option<PathBuf>,

    /// Other text encoders than the model's, such as for a file that has a UNet alone: a folder with `text_encoder` and
    /// `text_encoder_2`, or with `clip_l.safetensors` and `clip_g.safetensors`, a checkpoint file, or a model on the Hub.
    #[arg(long, env = "GLIMPSE_TEXT_ENCODERS", value_name = "DIR_FILE_OR_HUB_ID")]
    pub text_encoders: Option<PathBuf>,

    /// The folder of LoRA files that requests may name. [default: none]
    #[arg(long, env = "GLIMPSE_LORA_DIR", value_name = "DIR")]
    pub lora_dir: Option<PathBuf>,

    /// The folder of embeddings (textual inversion) that requests may name. [default: none]
    #[arg(long, env = "GLIMPSE_EMBEDDING_DIR", value_name = "DIR")]
    pub embedding_dir: Option<PathBuf>,

    /// Loads LoRAs, embeddings and ControlNets from the Hugging Face Hub when a request names one (`hf://OWNER/NAME`),
    /// with `HF_TOKEN` if it is set.
    #[arg(long, env = "GLIMPSE_ALLOW_LORA_HUB", value_parser = FalseyValueParser::new())]
    pub allow_lora_hub: bool,

    /// Loads LoRAs, embeddings and ControlNets from the http and https URLs of requests, only from public addresses. At
    /// most 2 GiB each, and 6 GiB for a ControlNet.
    #[arg(long, env = "GLIMPSE_ALLOW_LORA_URLS", value_parser = FalseyValueParser::new())]
    pub allow_lora_urls: bool,

    /// The only hosts to load them from, separated by commas. They may be private. [default: all public hosts]
    #[arg(
        long,
        env = "GLIMPSE_ALLOW_LORA_HOSTS",
        value_name = "HOST,…",
        value_delimiter = ',',
        requires = "allow_lora_urls"
    )]
    pub allow_lora_hosts: Vec<TrustedHost>,

    /// The folder of downloaded LoRAs, embeddings and ControlNets. Workers may share it. [default: `glimpse/loras` in `$XDG_CACHE_HOME` or
    /// `~/.cache`]
    #[arg(long, env = "GLIMPSE_LORA_CACHE", value_name = "DIR")]
    pub lora_cache: Option<PathBuf>,

    /// The most that downloaded files take, in GiB. The least recently used are deleted first, but none that a job in
    /// hand uses.
    #[arg(
        long,
        allow_negative_numbers = true,
        env = "GLIMPSE_LORA_CACHE_SIZE",
        value_name = "GIB",
        default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=1 << 20)
    )]
    pub lora_cache_size: u64,

    /// The folder of ControlNets that requests may name: folders in the diffusers layout and `.safetensors` files.
    /// [default: none]
    #[arg(long, env = "GLIMPSE_CONTROLNET_DIR", value_name = "DIR")]
    pub controlnet_dir: Option<PathBuf>,

    /// How many ControlNets stay loaded after their jobs. Each takes about 2.5 GB on a GPU. The least recently used
    /// goes when another one is loaded, and all of them go if the device has too little memory for it.
    #[arg(
        long,
        allow_negative_numbers = true,
        env = "GLIMPSE_CONTROLNETS_KEPT",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub controlnets_kept: u8,

    /// A TAESD for previews: a folder with an `AutoencoderTiny` or with `taesdxl_decoder.safetensors`, that file, or
    /// a name on the Hub. Required, unless the model's folder (with `--config`, that folder) has a folder `taesd`.
    #[arg(long, env = "GLIMPSE_TAESD", value_name = "DIR_OR_HUB_ID")]
    pub taesd: Option<PathBuf>,

    /// The largest picture that requests may ask for, width times height: 4096 (64x64) to 2097152 (2048x1024). A
    /// request that gives no size gets the model's own, or the largest of its shape that is allowed.
    #[arg(
        long,
        allow_negative_numbers = true,
        env = "GLIMPSE_MAX_PIXELS",
        value_name = "N",
        default_value_t = MAX_PIXELS,
        value_parser = clap::value_parser!(u64).range(MIN_PIXELS..=MAX_PIXELS)
    )]
    pub max_pixels: u64,

    /// Uses less memory on the GPU: keeps the text encoders in host memory between prompts, and the UNet's own weights
    /// while LoRAs replace them, and runs the VAE in overlapping tiles of at most 512 pixels, which changes larger
    /// pictures slightly. Without this flag the worker does the same, part by part, when memory runs out. On the CPU
    /// only the tiles have an effect.
    #[arg(long, env = "GLIMPSE_LOW_MEMORY", value_parser = FalseyValueParser::new())]
    pub low_memory: bool,

    /// What to compute on: `auto`, `cpu`, `cuda:N` or `metal:N`. Float16 on a GPU, float32 on the CPU.
    #[arg(long, env = "GLIMPSE_DEVICE", default_value = "auto")]
    pub device: String,

    /// Records the UNet's step as a CUDA graph and replays it, so that the host launches one graph instead of more than
    /// a thousand kernels. The graph keeps device memory for the tensors of a step. It has not run on a GPU yet.
    #[arg(long, env = "GLIMPSE_CUDA_GRAPH", value_parser = FalseyValueParser::new())]
    pub cuda_graph: bool,

    /// Which of torch's generators draws the noise: `cuda` (Philox) or `cpu` (MT19937).
    #[arg(long, env = "GLIMPSE_GENERATOR", value_enum, default_value = "cuda")]
    pub generator: TorchGenerator,
}

/// See [`GeneratorKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TorchGenerator {
    /// `torch.Generator("cuda")`.
    Cuda,
    /// `torch.Generator("cpu")`.
    Cpu,
}

impl From<TorchGenerator> for GeneratorKind {
    fn from(generator: TorchGenerator) -> Self {
        match generator {
            TorchGenerator::Cuda => Self::Cuda,
            TorchGenerator::Cpu => Self::Cpu,
        }
    }
}

/// Why the pipeline could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model or the TAESD could not be downloaded from the Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The model or the TAESD could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl ModelConfig {
    /// Loads the checkpoint `model`, a path or a Hub id. Call it on the thread that will use the pipeline.
    ///
    /// # Errors
    /// If the device, the download, the model or the TAESD fails. The message names the file.
    pub fn load(&self, model: &Path) -> Result<SdxlPipeline, ModelError> {
        self.load_on(self.open_device()?, model)
    }

    /// Opens the device of `--device`.
    ///
    /// # Errors
    /// If it is not available.
    pub fn open_device(&self) -> Result<Device, LoadError> {
        parse_device(&self.device)
    }

    fn load_on(&self, device: Device, model: &Path) -> Result<SdxlPipeline, ModelError> {
        let mut options = LoadOptions::cpu(model);
        if !device.is_cpu() {
            (options.dtype, options.precision) = (DType::F16, Precision::Half);
        }
        let hub = HubOptions::from_env();
        let path = |named: &Path, component| hub::resolve(named, component, options.precision, &hub);
        let autoencoder = |named: &Option<PathBuf>| {
            named.as_deref().map(|named| path(named, ModelKind::Autoencoder)).transpose()
        };
        let (vae, taesd) = (autoencoder(&self.vae)?, autoencoder(&self.taesd)?);
        (options.model, options.vae, options.taesd) = (path(model, ModelKind::Pipeline)?, vae, taesd);
        let refiner = self.refiner.as_deref().map(|named| path(named, ModelKind::Refiner));
        options.refiner = refiner.transpose()?;
        let text =
            self.text_encoders.as_deref().map(|named| path(named, ModelKind::TextEncoders)).transpose()?;
        options.text_encoders = text;
        options.config.clone_from(&self.config);
        options.max_pixels = self.max_pixels;
        options.low_memory = self.low_memory;
        options.controlnets_kept = self.controlnets_kept.into();
        options.device = device;
        options.cuda_graph = self.cuda_graph;
        options.generator = self.generator.into();
        verify::at_start(&options.device, options.dtype).map_err(|error| {
            let (device, message) = (describe_device(&options.device), error.to_string());
            LoadError::Device { device, message }
        })?;
        let begun = Instant::now();
        let pipeline = SdxlPipeline::load(options)?;
        tracing::info!("{} is loaded, in {:.1} s", model.display(), begun.elapsed().as_secs_f64());
        Ok(pipeline)
    }

    /// Opens the folders of `--lora-dir` and `--embedding-dir`, and that of downloaded files if any are allowed.
    ///
    /// # Errors
    /// If one of the first does not exist, or the other cannot be created.
    pub fn loras(&self) -> Result<Loras, String> {
        let open = |flag: &str, folder: &Option<PathBuf>| {
            let open = |folder: &PathBuf| {
                LoraDir::open(folder).map_err(|e| format!("{flag} {}: {e}", folder.display()))
            };
            folder.as_ref().map(open).transpose()
        };
        let folder = open("--lora-dir", &self.lora_dir)?;
        let embeddings = open("--embedding-dir", &self.embedding_dir)?;
        Ok(Loras { folder, embeddings, downloader: self.downloader()?.map(Arc::new) })
    }

    /// Opens the folder of `--controlnet-dir`.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn controlnets(&self) -> Result<Option<ControlNetDir>, String> {
        let open = |folder: &PathBuf| {
            ControlNetDir::open(folder).map_err(|e| format!("--controlnet-dir {}: {e}", folder.display()))
        };
        self.controlnet_dir.as_ref().map(open).transpose()
    }

    fn downloader(&self) -> Result<Option<Downloader>, String> {
        if !self.allow_lora_hub && !self.allow_lora_urls {
            return Ok(None);
        }
        let limits = UrlLimits::default();
        let hub = self.allow_lora_hub.then(|| HubOptions {
            tries: limits.tries,
            connect: limits.connect,
            ..HubOptions::from_env()
        });
        let policy = || AddressPolicy::of_hosts(&self.allow_lora_hosts);
        let urls = self.allow_lora_urls.then(|| UrlLoader::new(policy(), limits));
        let folder = self.lora_cache.clone().unwrap_or_else(default_lora_cache);
        let shelf = Shelf::open(&folder, self.lora_cache_size << 30).map_err(|e| {
            format!("--lora-cache {}: {e}: name a folder that can be written", folder.display())
        })?;
        // A worker on a GPU computes in float16.
        let has_gpu = cfg!(any(feature = "cuda", feature = "metal"));
        let precision = match self.device.as_str() {
            "cpu" => Precision::Full,
            "auto" if !has_gpu => Precision::Full,
            _ => Precision::Half,
        };
        Ok(Some(Downloader::new(shelf, hub, urls).of_precision(precision)))
    }

    /// Loads the checkpoint and makes a warm-up picture, so that the first job is not slower than the others.
    ///
    /// # Errors
    /// As [`ModelConfig::load`], or if the warm-up picture fails.
    pub fn load_warm(&self, device: Device, model: &Path) -> Result<SdxlPipeline, String> {
        let pipeline = self.load_on(device, model).map_err(|error| error.to_string())?;
        let name = model.display();
        pipeline.warm().map_err(|error| format!("{name}: the model cannot make a picture: {error}"))?;
        Ok(pipeline)
    }
}

fn default_lora_cache() -> PathBuf {
    let caches = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().unwrap_or_default().join(".cache");
    caches.unwrap_or_else(home).join("glimpse/loras")
}

/// The worker's settings for its fleet.
#[derive(Debug, Clone, clap::Args)]
pub struct FleetConfig {
    /// The name under which the fleet serves this model. [default of serve: glimpse/demo]
    #[arg(long, env = "GLIMPSE_APP", value_name = "OWNER/NAME")]
    pub app: Option<App>,

    /// Seconds that the current job may continue after SIGTERM; then it is returned to the queue. 0: at once.
    #[arg(long, env = "GLIMPSE_DRAIN_GRACE", value_name = "SECONDS", default_value_t = 30)]
    pub drain_grace: u64,

    /// Seconds between the checkpoints of a long job: another worker resumes from the newest one if this worker is
    /// lost. 0: none.
    #[arg(
        long,
        env = "GLIMPSE_CHECKPOINT_EVERY",
        value_name = "SECONDS",
        default_value = "5",
        value_parser = seconds
    )]
    pub checkpoint_every: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "should be a number of seconds, 0 or more".to_owned())
}

impl FleetConfig {
    /// [`FleetConfig::drain_grace`] as a duration.
    pub fn drain_grace(&self) -> Duration {
        Duration::from_secs(self.drain_grace)
    }
}
