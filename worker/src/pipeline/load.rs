//! Loads a pipeline from a checkpoint: reads each component and checks that they fit together.

use std::rc::Rc;

use candle_core::DType;

use super::adapters::{Adapters, Modules};
use super::autoencoder::Autoencoder;
use super::component::component;
use super::controlnets::ControlNets;
use super::inputs::SizeRule;
use super::memory::Memory;
use super::options::LoadOptions;
use super::refiner::Refiner;
use super::residence::Residence;
use super::sdxl::SdxlPipeline;
use super::source::{Source, TOKENIZERS};
use super::text_encoders::TextEncoders;
use super::text_source::TEXT_ENCODERS;
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
        let options = LoadOptions {
            config: None,
            vae: None,
            text_encoders: None,
            refiner: None,
            taesd: None,
            ..options
        };
        Self::of(&Source::random(&options, config, seed), options.clone())
    }

    fn of(source: &Source<'_>, options: LoadOptions) -> Result<Self, LoadError> {
        allow_tf32(options.dtype != DType::F32);
        // The refiner's own autoencoder is not read.
        let refiner = options.refiner.clone().map(|model| {
            let vae = Some(model.clone());
            LoadOptions { model, config: None, vae, text_encoders: None, refiner: None, ..options.clone() }
        });
        let refiner = refiner.as_ref().map(Source::open_refiner).transpose()?;
        let head = Head::read(source, &options)?;
        let second = refiner.as_ref().map(|refiner| Head::read(refiner, &options)).transpose()?;
        let movable = head.movable.iter().chain(second.iter().flat_map(|head| &head.movable));
        let residence = Rc::new(Residence::new(movable.cloned().collect(), options.device.clone()));
        if options.low_memory {
            // Before the UNet comes to the device.
            residence.rest()?;
        }
        let Head { scheduler, scores, modules: encoders, .. } = &head;
        let (scheduler, scores, encoders) = (scheduler.clone(), *scores, encoders.clone());
        let text = head.encoders(&residence);
        let vae = Autoencoder::load(source, &options, residence.clone())?;
        let nine = 2 * vae.config().latent_channels + 1;
        let (unet, modules) = unet(source, &text, (vae.config(), &[nine]), scores, &options)?;
        let device = options.device.clone();
        let adapters = Adapters::new(modules, encoders, unet.config(), device, residence.clone());
        let refiner = match (refiner, second) {
            (Some(source), Some(head)) => {
                Some(load_refiner(&source, head, &residence, vae.config(), &options)?)
            }
            _ => None,
        };
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
        Ok(Self {
            text,
            unet,
            vae,
            taesd,
            scheduler,
            adapters,
            controlnets,
            memory,
            scores,
            refiner,
            files: source.unet_files(),
            options,
        })
    }
}

/// What is read of a model before its UNet.
struct Head {
    scheduler: SchedulerConfig,
    /// Whether the UNet is told aesthetic scores.
    scores: bool,
    force_zeros_for_empty_prompt: bool,
    tokenizers: Vec<ClipTokenizer>,
    text: Vec<ClipTextModel>,
    /// The modules of both text encoders; none of one that the model does not have.
    modules: [Modules; 2],
    movable: Vec<Weight>,
}

impl Head {
    fn read(source: &Source<'_>, options: &LoadOptions) -> Result<Self, LoadError> {
        let marks = source.marks()?;
        let config = source.config();
        let index = config.settings("model_index.json", "a model in the diffusers layout")?;
        let indices = check_index(&index)?;
        let scheduler = config.component("scheduler").settings("scheduler_config.json", "a scheduler")?;
        let scheduler = SchedulerConfig::read(marks.apply(&scheduler, config.are_built_in())?)?;
        let (mut tokenizers, mut text, mut modules) =
            (Vec::new(), Vec::new(), [Modules::new(), Modules::new()]);
        let mut movable = Vec::new();
        for index in indices.iter().copied() {
            let encoder = text_encoder(source, options, index)?;
            tokenizers.push(encoder.tokenizer);
            text.push(encoder.encoder);
            modules[index] = encoder.modules;
            movable.extend(encoder.movable);
        }
        if let [first, second] = &tokenizers[..]
            && first.length() != second.length()
        {
            // The hidden states of both encoders are joined token by token.
            let message =
                format!("is {}, but that of the first tokenizer is {}", second.length(), first.length());
            let path = config.component(TOKENIZERS[1]).path("tokenizer_config.json");
            return Err(LoadError::Setting { path, key: "model_max_length".into(), message });
        }
        Ok(Self {
            scheduler,
            scores: index.or("requires_aesthetics_score", false)?,
            force_zeros_for_empty_prompt: index.or("force_zeros_for_empty_prompt", true)?,
            tokenizers,
            text,
            modules,
            movable,
        })
    }

    fn encoders(self, residence: &Rc<Residence>) -> TextEncoders {
        TextEncoders {
            tokenizers: self.tokenizers,
            encoders: self.text,
            residence: residence.clone(),
            force_zeros_for_empty_prompt: self.force_zeros_for_empty_prompt,
        }
    }
}

/// The UNet of a model with these text encoders, and its modules. It has the channels of the autoencoder's latents, or
/// one of the other numbers of input channels.
fn unet(
    source: &Source<'_>,
    text: &TextEncoders,
    (vae, more): (&VaeConfig, &[usize]),
    scores: bool,
    options: &LoadOptions,
) -> Result<(Unet, Modules), LoadError> {
    let (mut config, settings) = component(&source.config().component("unet"), UnetConfig::read)?;
    config.in_channels = source.in_channels().unwrap_or(config.in_channels);
    check_widths(&settings, &config, text, if scores { 5 } else { 6 })?;
    check_latents(&settings, &config, vae, more)?;
    let files = source.unet(&config, options.dtype)?;
    let unet =
        Unet::new(&files, config, options.dtype).map_err(|error| source.with_hint(source.config(), error))?;
    let unet = unet.recorded(options.cuda_graph);
    Ok((unet, files.modules()))
}

fn load_refiner(
    source: &Source<'_>,
    head: Head,
    residence: &Rc<Residence>,
    vae: &VaeConfig,
    options: &LoadOptions,
) -> Result<Refiner, LoadError> {
    let (scheduler, scores) = (head.scheduler.clone(), head.scores);
    let text = head.encoders(residence);
    let (unet, _) = unet(source, &text, (vae, &[]), scores, options)?;
    let sizes = if scores { SizeRule::Scores } else { SizeRule::ImageToImage };
    Ok(Refiner { text, unet, scheduler, sizes })
}

/// Checks that `model_index.json` names SDXL's class for each component. Returns which of the text encoders there are.
fn check_index(index: &Settings) -> Result<&'static [usize], LoadError> {
    let pipelines =
        ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"];
    index.only("_class_name", &pipelines.map(Into::into))?;
    let absent = serde_json::json!([null, null]);
    let lacks = |key| Ok::<_, LoadError>(index.required::<serde_json::Value>(key)? == absent);
    let first = !lacks(TEXT_ENCODERS[0])?;
    for (key, library, class) in [
        ("text_encoder", "transformers", "CLIPTextModel"),
        ("text_encoder_2", "transformers", "CLIPTextModelWithProjection"),
        ("tokenizer", "transformers", "CLIPTokenizer"),
        ("tokenizer_2", "transformers", "CLIPTokenizer"),
        ("unet", "diffusers", "UNet2DConditionModel"),
        ("vae", "diffusers", "AutoencoderKL"),
    ] {
        index.required::<serde_json::Value>(key)?;
        if !first && [TEXT_ENCODERS[0], TOKENIZERS[0]].contains(&key) {
            index.only(key, std::slice::from_ref(&absent))?;
            continue;
        }
        let fast = format!("{class}Fast");
        index.only(key, &[serde_json::json!([library, class]), serde_json::json!([library, fast])])?;
    }
    Ok(if first { &[0, 1] } else { &[1] })
}

/// Checks that the widths of the UNet and of the text encoders agree. `ids` is how many numbers the UNet is told about
/// sizes.
fn check_widths(
    settings: &Settings,
    unet: &UnetConfig,
    text: &TextEncoders,
    ids: usize,
) -> Result<(), LoadError> {
    let width: usize = text.encoders.iter().map(|encoder| encoder.config().hidden_size).sum();
    if unet.cross_attention_dim != width {
        let message = format!("is {}, but the text encoders give {width}", unet.cross_attention_dim);
        return Err(settings.wrong("cross_attention_dim", message));
    }
    let pooled = text.encoders.last().map_or(0, |encoder| encoder.config().projection_dim);
    let added = ids * unet.addition_time_embed_dim + pooled;
    if unet.projection_class_embeddings_input_dim != added {
        let message = format!(
            "is {}, but {ids} time ids of width {} and the pooled text of width {pooled} need {added}",
            unet.projection_class_embeddings_input_dim, unet.addition_time_embed_dim
        );
        return Err(settings.wrong("projection_class_embeddings_input_dim", message));
    }
    Ok(())
}

/// Checks that the channels of the UNet and of the autoencoder agree. `more` are other numbers of input channels.
fn check_latents(
    settings: &Settings,
    unet: &UnetConfig,
    vae: &VaeConfig,
    more: &[usize],
) -> Result<(), LoadError> {
    for (key, channels, more) in
        [("in_channels", unet.in_channels, more), ("out_channels", unet.out_channels, &[])]
    {
        if channels != vae.latent_channels && !more.contains(&channels) {
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
    let encoder = ClipTextModel::new(&files, config, index == 1);
    let encoder = encoder.map_err(|error| source.with_hint(&source.text_config(index), error))?;
    Ok(TextEncoder { tokenizer, encoder, modules: files.modules(), movable: files.movable() })
}
