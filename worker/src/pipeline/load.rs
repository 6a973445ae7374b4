//! From a checkpoint on disk to a pipeline: reads every component and checks that they fit together.

use std::path::PathBuf;

use candle_core::{DType, Device};

use super::adapters::{Adapters, Weights};
use super::autoencoder::Autoencoder;
use super::conditioning::TextEncoders;
use super::sdxl::SdxlPipeline;
use super::source::{Source, TEXT_ENCODERS, TOKENIZERS, taesd};
use crate::noise::GeneratorKind;
use crate::schedulers::SchedulerConfig;
use crate::sdxl::clip::{ClipConfig, ClipTextModel};
use crate::sdxl::tokenizer::ClipTokenizer;
use crate::sdxl::unet::{Unet, UnetConfig};
use crate::sdxl::vae::VaeConfig;
use crate::sdxl::{ConfigFiles, LoadError, Precision, Settings};

/// What to load, and where to.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder in the diffusers layout, or a `.safetensors` file with SGM's names.
    pub model: PathBuf,
    /// A folder in the diffusers layout whose JSON files and tokenizers to use; the model's own if `None`, and
    /// for a file those of SDXL base 1.0.
    pub config: Option<PathBuf>,
    /// Another autoencoder than the model's: a folder with `config.json`, or a `.safetensors` file.
    pub vae: Option<PathBuf>,
    /// The folder of an `AutoencoderTiny` or of TAESD's own files; `taesd` in the model's folder if `None`.
    pub taesd: Option<PathBuf>,
    /// Where the tensors live.
    pub device: Device,
    /// The type the models compute in; samplers are f32 always, the autoencoder if it asks for it.
    pub dtype: DType,
    /// Which files to read where a component has both.
    pub precision: Precision,
    /// How seeds become noise, unless a request says.
    pub generator: GeneratorKind,
    /// The largest picture that requests may ask for.
    pub max_pixels: u64,
}

impl LoadOptions {
    /// A model on the CPU in float32, with everything else as it is by default.
    pub fn cpu(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            config: None,
            vae: None,
            taesd: None,
            device: Device::Cpu,
            dtype: DType::F32,
            precision: Precision::Full,
            generator: GeneratorKind::Cuda,
            max_pixels: 2048 * 1024,
        }
    }
}

impl SdxlPipeline {
    /// Loads a checkpoint with its preview decoder.
    ///
    /// # Errors
    /// If a file is missing, cut or describes something that is not implemented; the message names the
    /// file, and the key or tensor in it.
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        let source = Source::open(&options)?;
        let config = source.config();
        let index = config.settings("model_index.json", "a model in the diffusers layout")?;
        check_index(&index)?;
        let scheduler = config.component("scheduler").settings("scheduler_config.json", "a scheduler")?;
        source.check_prediction(&scheduler)?;
        let scheduler = SchedulerConfig::read(scheduler)?;
        let [first, second] = [text_encoder(&source, &options, 0)?, text_encoder(&source, &options, 1)?];
        let lengths = [first.tokenizer.length(), second.tokenizer.length()];
        if lengths[0] != lengths[1] {
            // Both encode the same prompt, and their states are joined token by token.
            let message = format!("is {}, but that of the first tokenizer is {}", lengths[1], lengths[0]);
            let path = config.component(TOKENIZERS[1]).path("tokenizer_config.json");
            return Err(LoadError::Setting { path, key: "model_max_length".into(), message });
        }
        let text = TextEncoders {
            tokenizers: [first.tokenizer, second.tokenizer],
            encoders: [first.encoder, second.encoder],
            force_zeros_for_empty_prompt: index.or("force_zeros_for_empty_prompt", true)?,
        };
        let (unet, unet_settings) = component(&config.component("unet"), UnetConfig::read)?;
        check_widths(&unet_settings, &unet, &text)?;
        let vae = Autoencoder::load(&source, &options)?;
        check_latents(&unet_settings, &unet, vae.config())?;
        let files = source.unet(&unet, options.dtype)?;
        let unet = Unet::new(&files, unet, options.dtype)?;
        let adapters = Adapters::new(files.weights(), [first.weights, second.weights], unet.config());

        let (taesd, settings) = taesd(&options)?;
        if taesd.config().latent_channels != vae.config().latent_channels
            || taesd.config().scale() != vae.config().scale()
        {
            return Err(
                settings.wrong("latent_channels", "or the number of levels differs from the model's VAE")
            );
        }
        Ok(Self { text, unet, vae, taesd, scheduler, adapters, options })
    }
}

/// `model_index.json` names the class of each component: anything but SDXL's is another model.
fn check_index(index: &Settings) -> Result<(), LoadError> {
    index.only("_class_name", &["StableDiffusionXLPipeline".into()])?;
    for (key, library, class) in [
        ("text_encoder", "transformers", "CLIPTextModel"),
        ("text_encoder_2", "transformers", "CLIPTextModelWithProjection"),
        ("tokenizer", "transformers", "CLIPTokenizer"),
        ("tokenizer_2", "transformers", "CLIPTokenizer"),
        ("unet", "diffusers", "UNet2DConditionModel"),
        ("vae", "diffusers", "AutoencoderKL"),
    ] {
        index.required::<serde_json::Value>(key)?;
        let fast = format!("{class}Fast");
        index.only(key, &[serde_json::json!([library, class]), serde_json::json!([library, fast])])?;
    }
    Ok(())
}

/// Widths that the UNet and the text encoders must agree on.
fn check_widths(settings: &Settings, unet: &UnetConfig, text: &TextEncoders) -> Result<(), LoadError> {
    let [first, second] = [0, 1].map(|i| text.encoders[i].config());
    let width = first.hidden_size + second.hidden_size;
    if unet.cross_attention_dim != width {
        let message = format!("is {}, but the text encoders give {width}", unet.cross_attention_dim);
        return Err(settings.wrong("cross_attention_dim", message));
    }
    let added = 6 * unet.addition_time_embed_dim + second.projection_dim;
    if unet.projection_class_embeddings_input_dim != added {
        let message = format!(
            "is {}, but six time ids of {} and the pooled text of {} are {added}",
            unet.projection_class_embeddings_input_dim, unet.addition_time_embed_dim, second.projection_dim
        );
        return Err(settings.wrong("projection_class_embeddings_input_dim", message));
    }
    Ok(())
}

/// Channels that the UNet and the autoencoder must agree on.
fn check_latents(settings: &Settings, unet: &UnetConfig, vae: &VaeConfig) -> Result<(), LoadError> {
    for (key, channels) in [("in_channels", unet.in_channels), ("out_channels", unet.out_channels)] {
        if channels != vae.latent_channels {
            let message =
                format!("is {channels}, but latents of the autoencoder have {}", vae.latent_channels);
            return Err(settings.wrong(key, message));
        }
    }
    Ok(())
}

/// A component's configuration, with the settings it came from for later complaints.
pub(super) fn component<C>(
    files: &ConfigFiles,
    read: impl FnOnce(&Settings) -> Result<C, LoadError>,
) -> Result<(C, Settings), LoadError> {
    let settings = files.settings("config.json", "a component of the model")?;
    Ok((read(&settings)?, settings))
}

/// Half of the text side.
struct TextEncoder {
    tokenizer: ClipTokenizer,
    encoder: ClipTextModel,
    weights: Weights,
}

fn text_encoder(source: &Source<'_>, options: &LoadOptions, index: usize) -> Result<TextEncoder, LoadError> {
    let files = source.config();
    let (config, settings) = component(&files.component(TEXT_ENCODERS[index]), ClipConfig::read)?;
    let tokenizer = ClipTokenizer::open(&files.component(TOKENIZERS[index]))?;
    if tokenizer.length() > config.max_position_embeddings {
        return Err(settings.wrong("max_position_embeddings", "is below the tokenizer's model_max_length"));
    }
    if tokenizer.highest_id() as usize >= config.vocab_size {
        return Err(settings.wrong("vocab_size", "is below the tokenizer's number of tokens"));
    }
    let files = source.text_encoder(index, &config, options.dtype)?;
    let encoder = ClipTextModel::new(&files, config, index == 1)?;
    Ok(TextEncoder { tokenizer, encoder, weights: files.weights() })
}
