//! SDXL behind the seam.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::conditioning::{Conditioning, TextEncoders};
use super::denoising::{Guidance, SdxlDenoising, SeededNoise};
use super::device;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::picture::Rgb;
use super::{Description, Pipeline, PreviewSource, Progress};
use crate::noise::{Generator, GeneratorKind};
use crate::schedulers::{Noise, SCHEDULERS, SchedulerConfig};
use crate::sdxl::clip::{ClipConfig, ClipTextModel};
use crate::sdxl::taesd::{Taesd, TaesdConfig};
use crate::sdxl::tokenizer::ClipTokenizer;
use crate::sdxl::unet::{Unet, UnetConfig, UnetInputs};
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

/// A loaded checkpoint.
#[derive(Debug)]
pub struct SdxlPipeline {
    text: TextEncoders,
    unet: Unet,
    vae: Vae,
    vae_dtype: DType,
    taesd: Taesd,
    scheduler: SchedulerConfig,
    options: LoadOptions,
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

    /// One short job at the model's own size: kernels are loaded and memory is mapped before the first
    /// real one.
    ///
    /// # Errors
    /// As for any job.
    pub fn warm(&self) -> Result<(), PipelineError> {
        let description = self.describe();
        let mut inputs = Inputs::new("", description.native_width, description.native_height);
        inputs.num_inference_steps = 1;
        let mut denoising = self.begin(&inputs)?;
        self.step(&mut [&mut denoising])?;
        self.preview(&denoising, PreviewSource::Latents)?;
        self.finish(denoising).map(|_| ())
    }

    /// The autoencoder's pictures of latents [B, C, h, w]: [B, 3, H, W] in about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        Ok(self.vae.decode(&latents.to_dtype(self.vae_dtype)?)?.to_dtype(DType::F32)?)
    }

    /// The preview decoder's pictures of latents [B, C, h, w]: [B, 3, H, W] in about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode_preview(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        Ok(self.taesd.decode(&latents.to_dtype(self.options.dtype)?)?.to_dtype(DType::F32)?)
    }

    fn scheduler_of(&self, inputs: &Inputs) -> Result<SchedulerConfig, PipelineError> {
        let Some(choice) = &inputs.scheduler else { return Ok(self.scheduler.clone()) };
        let mut changes = choice.changes.clone();
        if let Some(name) = &choice.name {
            if !SCHEDULERS.contains(&name.as_str()) {
                let message = format!("{name:?} is not one of {}", SCHEDULERS.join(", "));
                return Err(PipelineError::bad("scheduler", message));
            }
            changes.insert("_class_name".into(), name.clone().into());
        }
        self.scheduler.with(&changes).map_err(|e| PipelineError::bad("scheduler", e.to_string()))
    }
}

impl Pipeline for SdxlPipeline {
    type Denoising = SdxlDenoising;

    fn begin(&self, inputs: &Inputs) -> Result<SdxlDenoising, PipelineError> {
        let scale = self.vae.config().scale();
        inputs.check(scale as u32, self.options.max_pixels)?;
        let sampler = self
            .scheduler_of(inputs)?
            .sampler(inputs.num_inference_steps)
            .map_err(|e| PipelineError::bad("num_inference_steps", e.to_string()))?;
        let (positive, negative) = self.text.encode(inputs)?;
        let conditioning = Conditioning::new(inputs, &positive, negative.as_ref(), self.options.dtype)?;
        let mut noise = SeededNoise {
            generator: Generator::new(inputs.generator.unwrap_or(self.options.generator), inputs.seed),
            shape: [
                inputs.num_images_per_prompt,
                self.unet.config().in_channels,
                inputs.height as usize / scale,
                inputs.width as usize / scale,
            ],
            device: self.options.device.clone(),
            newest: None,
        };
        let latents = (noise.draw()? * sampler.init_noise_sigma())?;
        let guidance = inputs
            .guided()
            .then_some(Guidance { scale: inputs.guidance_scale, rescale: inputs.guidance_rescale });
        Ok(SdxlDenoising {
            step: 0,
            sampler,
            noise,
            guidance,
            conditioning,
            positive,
            negative,
            latents,
            last: None,
        })
    }

    fn step(&self, batch: &mut [&mut SdxlDenoising]) -> Result<(), PipelineError> {
        // One UNet call per size, in the order the jobs came.
        let mut waiting: Vec<&mut SdxlDenoising> = Vec::new();
        for denoising in batch.iter_mut() {
            if self.progress(denoising).is_done() {
                return Err(PipelineError::fault("a job was asked to step beyond its last step"));
            }
            waiting.push(denoising);
        }
        while let Some(first) = waiting.first() {
            let size = first.latents.dims()[2..].to_vec();
            let (mut group, others): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|d| d.latents.dims()[2..] == size);
            waiting = others;
            let questions = group
                .iter()
                .map(|d| d.question(self.options.dtype))
                .collect::<candle_core::Result<Vec<_>>>()?;
            let answers = self.unet.forward(&join(&questions)?)?;
            let mut row = 0;
            for (denoising, question) in group.iter_mut().zip(&questions) {
                let rows = question.timesteps.len();
                denoising.advance(question, answers.narrow(0, row, rows)?)?;
                row += rows;
            }
        }
        Ok(())
    }

    fn preview(&self, denoising: &SdxlDenoising, source: PreviewSource) -> Result<Rgb, PipelineError> {
        let latents = match (source, denoising.denoised()) {
            (PreviewSource::Denoised, Some(denoised)) => denoised,
            _ => denoising.latents(),
        };
        let picture = self.decode_preview(&latents.narrow(0, 0, 1)?)?;
        Rgb::from_tensor(&picture)?.pop().ok_or_else(|| PipelineError::fault("the preview is empty"))
    }

    fn finish(&self, denoising: SdxlDenoising) -> Result<Vec<Rgb>, PipelineError> {
        let mut pictures = Vec::new();
        // One at a time: the decoder's memory is the peak of a job's.
        for i in 0..denoising.latents.dim(0)? {
            pictures.extend(Rgb::from_tensor(&self.decode(&denoising.latents.narrow(0, i, 1)?)?)?);
        }
        Ok(pictures)
    }

    fn progress(&self, denoising: &SdxlDenoising) -> Progress {
        Progress { step: denoising.step, steps: denoising.sampler.timesteps().len() }
    }

    fn describe(&self) -> Description {
        let scale = self.vae.config().scale();
        let (height, width) = self.unet.config().sample_size;
        Description {
            native_width: (width * scale) as u32,
            native_height: (height * scale) as u32,
            multiple: scale as u32,
            max_pixels: self.options.max_pixels,
            schedulers: SCHEDULERS.iter().map(|s| (*s).to_owned()).collect(),
            device: device::describe(&self.options.device),
        }
    }
}

/// Several jobs' questions as one.
fn join(questions: &[UnetInputs]) -> candle_core::Result<UnetInputs> {
    if let [only] = questions {
        return Ok(only.clone());
    }
    let cat =
        |part: fn(&UnetInputs) -> &Tensor| Tensor::cat(&questions.iter().map(part).collect::<Vec<_>>(), 0);
    Ok(UnetInputs {
        sample: cat(|q| &q.sample)?,
        timesteps: questions.iter().flat_map(|q| q.timesteps.clone()).collect(),
        encoder_hidden_states: cat(|q| &q.encoder_hidden_states)?,
        text_embeds: cat(|q| &q.text_embeds)?,
        time_ids: questions.iter().flat_map(|q| q.time_ids.clone()).collect(),
    })
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
) -> Result<std::rc::Rc<WeightFiles>, LoadError> {
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
