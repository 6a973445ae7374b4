//! From a folder to a pipeline: every configuration is read and compared with the others before the first
//! weight is.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device};

use super::conditioning::TextEncoders;
use super::sdxl::SdxlPipeline;
use crate::noise::GeneratorKind;
use crate::schedulers::SchedulerConfig;
use crate::sdxl::clip::{ClipConfig, ClipTextModel};
use crate::sdxl::taesd::{Taesd, TaesdConfig};
use crate::sdxl::tokenizer::ClipTokenizer;
use crate::sdxl::unet::{Unet, UnetConfig};
use crate::sdxl::vae::{Vae, VaeConfig};
use crate::sdxl::{LoadError, Precision, Settings, WeightFiles};

/// What to load, and where to.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder in the diffusers layout.
    pub model: PathBuf,
    /// The folder of an `AutoencoderTiny`; `taesd` in the model's folder if `None`.
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
        let model = &options.model;
        if !model.is_dir() {
            let id = model.to_string_lossy();
            let named_as_on_the_hub = id.split('/').count() == 2 && !id.starts_with(['.', '/', '~']);
            return Err(match named_as_on_the_hub && !model.exists() {
                true => LoadError::HubId(id.into_owned()),
                false => LoadError::Missing { path: model.clone(), what: "a folder in the diffusers layout" },
            });
        }
        let index = Settings::open(&model.join("model_index.json"), "a model in the diffusers layout")?;
        check_index(&index)?;
        let scheduler = SchedulerConfig::open(&model.join("scheduler/scheduler_config.json"))?;
        let text = TextEncoders {
            tokenizers: [
                ClipTokenizer::open(&model.join("tokenizer"))?,
                ClipTokenizer::open(&model.join("tokenizer_2"))?,
            ],
            encoders: [
                text_encoder(&options, "text_encoder", false)?,
                text_encoder(&options, "text_encoder_2", true)?,
            ],
            force_zeros_for_empty_prompt: index.or("force_zeros_for_empty_prompt", true)?,
        };
        let (unet, unet_settings) = component(&model.join("unet"), UnetConfig::read)?;
        check_widths(&unet_settings, &unet, &text)?;
        let (vae, _) = component(&model.join("vae"), VaeConfig::read)?;
        for (key, channels) in [("in_channels", unet.in_channels), ("out_channels", unet.out_channels)] {
            if channels != vae.latent_channels {
                let message =
                    format!("is {channels}, but latents of the autoencoder have {}", vae.latent_channels);
                return Err(unet_settings.wrong(key, message));
            }
        }
        let files = weights(&options, &model.join("unet"), "diffusion_pytorch_model", options.dtype)?;
        let unet = Unet::new(&files, unet, options.dtype)?;
        let vae_dtype = if vae.force_upcast { DType::F32 } else { options.dtype };
        let files = weights(&options, &model.join("vae"), "diffusion_pytorch_model", vae_dtype)?;
        let vae = Vae::new(&files, vae)?;

        let folder = options.taesd.clone().unwrap_or_else(|| model.join("taesd"));
        if !folder.is_dir() {
            return Err(LoadError::Missing { path: folder, what: "the preview decoder, an AutoencoderTiny" });
        }
        let (config, settings) = component(&folder, TaesdConfig::read)?;
        if config.latent_channels != vae.config().latent_channels || config.scale() != vae.config().scale() {
            return Err(
                settings.wrong("latent_channels", "or the number of levels differs from the model's VAE")
            );
        }
        let taesd =
            Taesd::new(&weights(&options, &folder, "diffusion_pytorch_model", options.dtype)?, config)?;
        Ok(Self { text, unet, vae, vae_dtype, taesd, scheduler, options })
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

/// Widths that two components must agree on.
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

/// A component's configuration, with the settings it came from for later complaints.
fn component<C>(
    folder: &Path,
    read: impl FnOnce(&Settings) -> Result<C, LoadError>,
) -> Result<(C, Settings), LoadError> {
    let settings = Settings::open(&folder.join("config.json"), "a component of the model")?;
    Ok((read(&settings)?, settings))
}

fn weights(
    options: &LoadOptions,
    folder: &Path,
    stem: &str,
    dtype: DType,
) -> Result<Rc<WeightFiles>, LoadError> {
    WeightFiles::open(folder, stem, options.precision, dtype, &options.device)
}

fn text_encoder(options: &LoadOptions, name: &str, projected: bool) -> Result<ClipTextModel, LoadError> {
    let folder = options.model.join(name);
    let (config, settings) = component(&folder, ClipConfig::read)?;
    let tokenizer = ClipTokenizer::open(&options.model.join(name.replace("text_encoder", "tokenizer")))?;
    if tokenizer.length() > config.max_position_embeddings {
        return Err(settings.wrong("max_position_embeddings", "is below the tokenizer's model_max_length"));
    }
    if tokenizer.highest_id() as usize >= config.vocab_size {
        return Err(settings.wrong("vocab_size", "is below the tokenizer's number of tokens"));
    }
    let files = weights(options, &folder, "model", options.dtype)?;
    ClipTextModel::new(&files, config, projected)
}
