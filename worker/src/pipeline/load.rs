//! Loads a pipeline from a checkpoint: reads each component and checks that they fit together.

use std::rc::Rc;

use candle_core::DType;

use super::adapters::{Adapters, Modules};
use super::autoencoder::Autoencoder;
use super::component::component;
use super::controlnets::ControlNets;
use super::memory::Memory;
use super::options::LoadOptions;
use super::residence::Residence;
use super::sdxl::SdxlPipeline;
use super::source::{Source, TOKENIZERS};
use super::text_encoders::TextEncoders;
use crate::schedulers::SchedulerConfig;
use crate::sdxl::clip::{ClipConfig, ClipTextModel};
use crate::sdxl::ops::allow_tf32;
use crate::sdxl::tokenizer::ClipTokenizer;
use crate::sdxl::unet::{Unet, UnetConfig};
use crate::sdxl::vae::VaeConfig;
use crate::sdxl::{ConfigFiles, LoadError, Settings, Weight};

impl SdxlPipeline {
    /// Loads a checkpoint and its preview decoder.
    ///
    /// # Errors
    /// If a file is missing, truncated or needs something that is not implemented. The message names the file, and the
    /// key or tensor in it.
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        Self::of(&Source::open(&options)?, options.clone())
    }

    /// A model with random weights, in the shape that `config` describes: for measurements without a checkpoint. Equal
    /// seeds give equal weights. The options' paths and their `precision` are not used.
    ///
    /// # Errors
    /// If a JSON file or a tokenizer is wrong, or the device fails.
    pub fn random(config: ConfigFiles, seed: u64, options: LoadOptions) -> Result<Self, LoadError> {
        let options = LoadOptions { config: None, vae: None, text_encoders: None, taesd: None, ..options };
        Self::of(&Source::random(&options, config, seed), options.clone())
    }

    fn of(source: &Source<'_>, options: LoadOptions) -> Result<Self, LoadError> {
        allow_tf32(options.dtype != DType::F32);
        let marks = source.marks()?;
        let config = source.config();
        let index = config.settings("model_index.json", "a model in the diffusers layout")?;
        check_index(&index)?;
        let scheduler = config.component("scheduler").settings("scheduler_config.json", "a scheduler")?;
        let built_in = matches!(config, ConfigFiles::SdxlBase(_));
        let scheduler = SchedulerConfig::read(marks.apply(&scheduler, built_in)?)?;
        let [first, second] = [text_encoder(source, &options, 0)?, text_encoder(source, &options, 1)?];
        let lengths = [first.tokenizer.length(), second.tokenizer.length()];
        if lengths[0] != lengths[1] {
            // The hidden states of both encoders are joined token by token.
            let message = format!("is {}, but that of the first tokenizer is {}", lengths[1], lengths[0]);
            let path = config.component(TOKENIZERS[1]).path("tokenizer_config.json");
            return Err(LoadError::Setting { path, key: "model_max_length".into(), message });
        }
        let movable = [first.movable, second.movable].concat();
        let residence = Rc::new(Residence::new(movable, options.device.clone()));
        if options.low_memory {
            // Before the UNet comes to the device.
            residence.rest()?;
        }
        let text = TextEncoders {
            residence: residence.clone(),
            tokenizers: [first.tokenizer, second.tokenizer],
            encoders: [first.encoder, second.encoder],
            force_zeros_for_empty_prompt: index.or("force_zeros_for_empty_prompt", true)?,
        };
        let (unet, unet_settings) = component(&config.component("unet"), UnetConfig::read)?;
        check_widths(&unet_settings, &unet, &text)?;
        let vae = Autoencoder::load(source, &options, residence.clone())?;
        check_latents(&unet_settings, &unet, vae.config())?;
        let files = source.unet(&unet, options.dtype)?;
        let unet = Unet::new(&files, unet, options.dtype)?.recorded(options.cuda_graph);
        let encoders = [first.modules, second.modules];
        let device = options.device.clone();
        let adapters = Adapters::new(files.modules(), encoders, unet.config(), device, residence.clone());
        let memory = Memory::new(residence, options.max_pixels);
        let LoadOptions { dtype, ref device, precision, controlnets_kept, .. } = options;
        let controlnets = ControlNets::new(dtype, device.clone(), precision, controlnets_kept);

        let (taesd, settings) = source.taesd()?;
        if taesd.config().latent_channels != vae.config().latent_channels
            || taesd.config().scale() != vae.config().scale()
        {
            return Err(settings
                .wrong("latent_channels", "or the number of levels differs from that of the model's VAE"));
        }
        Ok(Self { text, unet, vae, taesd, scheduler, adapters, controlnets, memory, options })
    }
}

/// Checks that `model_index.json` names SDXL's class for each component.
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

/// Checks that the widths of the UNet and of the text encoders agree.
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
            "is {}, but six time ids of width {} and the pooled text of width {} need {added}",
            unet.projection_class_embeddings_input_dim, unet.addition_time_embed_dim, second.projection_dim
        );
        return Err(settings.wrong("projection_class_embeddings_input_dim", message));
    }
    Ok(())
}

/// Checks that the channels of the UNet and of the autoencoder agree.
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

/// One of the two text encoders with its tokenizer.
struct TextEncoder {
    tokenizer: ClipTokenizer,
    encoder: ClipTextModel,
    modules: Modules,
    movable: Vec<Weight>,
}

fn text_encoder(source: &Source<'_>, options: &LoadOptions, index: usize) -> Result<TextEncoder, LoadError> {
    let files = source.config();
    let (config, settings) = component(&source.text_config(index), ClipConfig::read)?;
    let tokenizer = ClipTokenizer::open(&files.component(TOKENIZERS[index]))?;
    if tokenizer.length() > config.max_position_embeddings {
        return Err(settings.wrong("max_position_embeddings", "is below the tokenizer's model_max_length"));
    }
    if tokenizer.highest_id() as usize >= config.vocab_size {
        return Err(settings.wrong("vocab_size", "is below the tokenizer's number of tokens"));
    }
    let files = source.text_encoder(index, &config, options.dtype)?;
    let encoder = ClipTextModel::new(&files, config, index == 1)?;
    Ok(TextEncoder { tokenizer, encoder, modules: files.modules(), movable: files.movable() })
}
