//! The pipeline of SDXL.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Tensor};

use super::adapters::Adapters;
use super::autoencoder::Autoencoder;
use super::conditioning::{Conditioning, EncodedPrompts};
use super::controlnets::ControlNets;
use super::denoising::{Guidance, SdxlDenoising, SeededNoise};
use super::device;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interface::{Description, Identity, Pipeline, PreviewKind, RequiredInput, StepProgress};
use super::interrupt::Interrupt;
use super::memory::{JobSize, Memory};
use super::native;
use super::options::LoadOptions;
use super::picture::Rgb;
use super::refiner::Refiner;
use super::second::{Model, Second};
use super::start::Start;
use super::text_encoders::TextEncoders;
use super::warning::PipelineWarning;
use super::window::Window;
use crate::schedulers::SchedulerConfig;
use crate::sdxl::controlnet::Base;
use crate::sdxl::ops::FiniteWatch;
use crate::sdxl::taesd::Taesd;
use crate::sdxl::unet::{Unet, UnetInputs};

/// A loaded checkpoint.
#[derive(Debug)]
pub struct SdxlPipeline {
    pub(super) text: TextEncoders,
    pub(super) unet: Unet,
    pub(super) vae: Autoencoder,
    pub(super) taesd: Taesd,
    pub(super) scheduler: SchedulerConfig,
    pub(super) adapters: Adapters,
    pub(super) controlnets: ControlNets,
    pub(super) memory: Memory,
    /// Whether the UNet is told aesthetic scores, as that of a refiner.
    pub(super) scores: bool,
    /// A second model for the last steps.
    pub(super) refiner: Option<Refiner>,
    /// The files with the UNet's weights.
    pub(super) files: Vec<PathBuf>,
    pub(super) options: LoadOptions,
}

impl SdxlPipeline {
    /// Decodes latents [B, C, h, w] with the autoencoder: [B, 3, H, W], about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        self.vae.decode(latents)
    }

    /// Decodes the UNet's latents [B, C, h, w] with the preview decoder: [B, 3, H, W], about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode_preview(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        let latents = self.vae.config().normalisation.for_preview(latents)?;
        Ok(self.taesd.decode(&latents.to_dtype(self.options.dtype)?)?.to_dtype(DType::F32)?)
    }

    /// The modules of the UNet's blocks that a LoRA can change, by diffusers' names, and the shapes of their weights.
    pub fn unet_modules(&self) -> Vec<(String, Vec<usize>)> {
        self.adapters.unet_modules()
    }

    /// Loads a ControlNet with random weights, as large as the UNet allows; jobs name it by this path, which must be a
    /// file. For measurements without a ControlNet's file.
    ///
    /// # Errors
    /// If the file has no metadata, or the device fails.
    pub fn random_controlnet(&self, path: &Path, seed: u64) -> Result<(), PipelineError> {
        self.controlnets.keep_random(path, self.unet.config(), seed)
    }

    /// Begins the steps of one request.
    pub(super) fn begin_new(
        &self,
        inputs: &Inputs,
        interrupt: Interrupt<'_>,
    ) -> Result<SdxlDenoising, PipelineError> {
        let scale = self.vae.config().scale();
        inputs.check(scale as u32, self.options.max_pixels)?;
        let size =
            JobSize { width: inputs.width, height: inputs.height, pictures: inputs.num_images_per_prompt };
        self.memory.check(size)?;
        self.check_required(inputs)?;
        let sampler = self.sampler_of(&self.scheduler, inputs, inputs.num_inference_steps)?;
        let window = Window::of(inputs, sampler.as_ref(), Self::train_timesteps(&self.scheduler)?)?;
        let loras = self.adapters.load(&inputs.loras, interrupt)?;
        self.memory.retried("the LoRAs", || self.adapters.activate(&loras, interrupt))?;
        let reading = Instant::now();
        let mut readings = self.text.readings(inputs, &loras, interrupt)?;
        let EncodedPrompts { positive, negative, mut warnings } =
            self.memory.retried("the prompts", || self.text.encode(inputs, &readings, interrupt))?;
        let text_time = reading..Instant::now();
        warnings.append(&mut readings.warnings);
        warnings.extend(readings.unread([Some(&positive), negative.as_ref()].into_iter().flatten()));
        warnings.extend(self.without_effect(inputs, window, sampler.timesteps().len()));
        let base =
            Base { unet: self.unet.config(), latent_channels: self.vae.config().latent_channels, scale };
        let controls =
            self.memory.retried("the ControlNets", || self.controlnets.load(inputs, base, interrupt))?;
        let prompts = (&positive, negative.as_ref());
        let sizes = self.sizes(inputs);
        let conditioning = Conditioning::new(inputs, prompts, inputs.size(), sizes, self.options.dtype)?;
        let shape = [
            inputs.num_images_per_prompt,
            self.vae.config().latent_channels,
            inputs.height as usize / scale,
            inputs.width as usize / scale,
        ];
        let device = self.options.device.clone();
        let mut noise = SeededNoise::new(inputs, self.options.generator, shape, device);
        let second = self.second(inputs, prompts, &loras, &noise, interrupt)?;
        interrupt.check()?;
        let takes_mask = self.required_input() == RequiredInput::Mask;
        let start = Start::new(inputs, &self.vae, sampler.as_ref(), window.first, takes_mask, &mut noise);
        let Start { latents, encoded, repaint, masked, paste } = self.memory.named(size.alone(), start)?;
        let guidance = inputs
            .guided()
            .then_some(Guidance { scale: inputs.guidance_scale, rescale: inputs.guidance_rescale });
        Ok(SdxlDenoising {
            step: window.first,
            first: window.first,
            end: window.end,
            before: 0,
            in_second: false,
            switches: VecDeque::new(),
            switched: 0,
            second,
            model: Model::Own,
            encoded,
            repaint,
            masked,
            paste,
            sampler,
            noise,
            guidance,
            conditioning,
            positive,
            negative,
            latents,
            last: None,
            finite: FiniteWatch::default(),
            text_time,
            loras,
            controls,
            warnings,
        })
    }

    /// The size of pictures whose latents have this height and width.
    pub(super) fn size(&self, latents: &[usize], pictures: usize) -> JobSize {
        let side = |axis: usize| (latents[axis] * self.vae.config().scale()) as u32;
        JobSize { width: side(1), height: side(0), pictures }
    }
}

impl Pipeline for SdxlPipeline {
    type Denoising = SdxlDenoising;

    fn prepare(
        &self,
        inputs: &Inputs,
        checkpoint: Option<&[u8]>,
        interrupt: Interrupt<'_>,
    ) -> Result<SdxlDenoising, PipelineError> {
        let mut denoising = self.begin_whole(inputs, interrupt)?;
        let Some(checkpoint) = checkpoint else { return Ok(denoising) };
        match denoising.restore(checkpoint) {
            Ok(()) => Ok(denoising),
            Err(reason) => {
                tracing::warn!("the checkpoint cannot be used, so the job starts over: {reason}");
                self.begin_whole(inputs, interrupt)
            }
        }
    }

    fn text_time(&self, denoising: &SdxlDenoising) -> Option<Range<Instant>> {
        Some(denoising.text_time.clone())
    }

    fn warnings(&self, denoising: &SdxlDenoising) -> Vec<PipelineWarning> {
        denoising.warnings.clone()
    }

    fn checkpoint(&self, denoising: &SdxlDenoising) -> Result<Vec<u8>, PipelineError> {
        denoising.check_finite()?;
        denoising.save()
    }

    fn step_or_stop(
        &self,
        batch: &mut [&mut SdxlDenoising],
        interrupt: Interrupt<'_>,
    ) -> Result<(), PipelineError> {
        // One UNet call per size, length of the prompts, set of LoRAs and UNet, in the order of the jobs. A job with
        // ControlNets has one of its own.
        let mut waiting: Vec<&mut SdxlDenoising> = Vec::new();
        for denoising in batch.iter_mut() {
            if self.progress(denoising).is_done() {
                return Err(PipelineError::fault("a job was asked to step beyond its last step"));
            }
            self.go_on(denoising, interrupt)?;
            waiting.push(denoising);
        }
        while let Some(first) = waiting.first() {
            let (size, loras) = (first.latents.dims()[2..].to_vec(), first.loras.clone());
            let (tokens, model) = (first.conditioning.embeds.dim(1)?, first.model);
            let controls = first.controls.clone();
            // As diffusers: the windows of ControlNets count steps after `denoising_end` too.
            let steps = first.before + first.sampler.timesteps().len() - first.first;
            let at = StepProgress { step: first.before + first.step - first.first, steps };
            let apart = first.noise.are_apart();
            let (mut group, mut others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|d| {
                d.latents.dims()[2..] == size
                    && d.conditioning.embeds.dims()[1] == tokens
                    && d.loras == loras
                    && d.model == model
                    && d.controls.goes_with(&controls)
                    && d.noise.are_apart() == apart
            });
            if apart {
                others.splice(0..0, group.split_off(1));
            }
            let unet = match (model, &self.refiner) {
                (Model::Refiner, Some(refiner)) => &refiner.unet,
                _ => &self.unet,
            };
            waiting = others;
            self.memory.retried("the LoRAs", || self.adapters.activate(&loras, Interrupt::never()))?;
            let pictures = if apart { 1 } else { group.iter().map(|d| d.noise.shape[0]).sum() };
            let all_inputs = group
                .iter()
                .map(|d| d.unet_inputs(self.options.dtype))
                .collect::<candle_core::Result<Vec<_>>>()?;
            let joined = join(&all_inputs)?;
            let parts = if apart { group[0].parts(&joined)? } else { vec![joined] };
            let mut predicted = Vec::with_capacity(parts.len());
            for part in &parts {
                let predict = || {
                    let residuals = controls.residuals(part, at.step, at.steps)?;
                    Ok(unet.forward_with(part, residuals.as_ref())?)
                };
                predicted.push(self.memory.fit(self.size(&size, pictures), predict)?);
            }
            let predictions = group[0].joined(&predicted)?;
            let mut row = 0;
            for (denoising, unet_inputs) in group.iter_mut().zip(&all_inputs) {
                let rows = unet_inputs.timesteps.len();
                denoising.advance(unet_inputs, predictions.narrow(0, row, rows)?)?;
                // With the estimate of this step, which no checkpoint has.
                denoising.switch()?;
                row += rows;
            }
        }
        Ok(())
    }

    fn preview(&self, denoising: &SdxlDenoising, source: PreviewKind) -> Result<Rgb, PipelineError> {
        let latents = match (source, denoising.denoised()) {
            (PreviewKind::Denoised, Some(denoised)) => denoised,
            _ => denoising.latents(),
        };
        let latents = latents.narrow(0, 0, 1)?;
        let picture = self.memory.retried("the preview", || self.decode_preview(&latents))?;
        let pictures =
            Rgb::from_tensor(&picture)?.ok_or_else(|| denoising.loras.not_finite("the preview"))?;
        // After the pixels, so that the device is waited for once.
        denoising.check_finite()?;
        pictures.into_iter().next().ok_or_else(|| PipelineError::fault("the preview is empty"))
    }

    fn pictures(
        &self,
        denoising: SdxlDenoising,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<Rgb>, PipelineError> {
        denoising.check_finite()?;
        let size = self.size(&denoising.latents.dims()[2..], denoising.latents.dim(0)?);
        let mut pictures = Vec::new();
        // One at a time: decoding is the memory peak of a job.
        for i in 0..denoising.latents.dim(0)? {
            interrupt.check()?;
            let decoded =
                self.memory.named(size.alone(), self.decode(&denoising.latents.narrow(0, i, 1)?))?;
            let decoded = Rgb::from_tensor(&decoded)?;
            let decoded = decoded.ok_or_else(|| denoising.loras.not_finite("the decoded picture"))?;
            pictures.extend(decoded.into_iter().map(|picture| match &denoising.paste {
                Some(paste) => paste.back(&picture),
                None => picture,
            }));
        }
        self.memory.finished(size);
        Ok(pictures)
    }

    fn estimates(
        &self,
        mut denoising: SdxlDenoising,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<Rgb>, PipelineError> {
        denoising.take_estimate()?;
        self.pictures(denoising, interrupt)
    }

    fn progress(&self, denoising: &SdxlDenoising) -> StepProgress {
        let SdxlDenoising { step, first, before, .. } = denoising;
        let after = denoising.second_part().map_or(0, Second::steps);
        StepProgress { step: before + step - first, steps: denoising.first_part() + after }
    }

    fn describe(&self) -> Description {
        let scale = self.vae.config().scale();
        let (height, width) = self.unet.config().sample_size;
        let max_pixels = self.memory.max_pixels();
        let (native_width, native_height) =
            native::size((width * scale) as u32, (height * scale) as u32, max_pixels);
        Description {
            native_width,
            native_height,
            multiple: scale as u32,
            max_pixels,
            schedulers: self.scheduler.offered().map(str::to_owned).collect(),
            required: self.required_input(),
            refines: self.refiner.is_some(),
            device: device::describe(&self.options.device),
            identity: Identity { files: self.files.clone(), scheduler: self.scheduler.members().clone() },
        }
    }
}

/// The inputs of several jobs as one batch.
fn join(all_inputs: &[UnetInputs]) -> candle_core::Result<UnetInputs> {
    if let [only] = all_inputs {
        return Ok(only.clone());
    }
    let cat =
        |part: fn(&UnetInputs) -> &Tensor| Tensor::cat(&all_inputs.iter().map(part).collect::<Vec<_>>(), 0);
    Ok(UnetInputs {
        sample: cat(|inputs| &inputs.sample)?,
        timesteps: all_inputs.iter().flat_map(|inputs| inputs.timesteps.clone()).collect(),
        encoder_hidden_states: cat(|inputs| &inputs.encoder_hidden_states)?,
        text_embeds: cat(|inputs| &inputs.text_embeds)?,
        time_ids: all_inputs.iter().flat_map(|inputs| inputs.time_ids.clone()).collect(),
    })
}
