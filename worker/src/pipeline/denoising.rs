//! The state of one running job.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use candle_core::{DType, Tensor};

use super::conditioning::{Conditioning, EncodedPrompt};
use super::controlnets::ControlSet;
use super::crop::Paste;
use super::error::PipelineError;
use super::guidance::{Guidance, halves};
use super::lora_set::LoraSet;
use super::second::{Model, Second};
pub(super) use super::seeded_noise::SeededNoise;
use super::switch::Switch;
use super::warning::PipelineWarning;
use super::window::Window;
use crate::schedulers::{Sampler, Stepped};
use crate::sdxl::ops::{self, FiniteWatch};
use crate::sdxl::unet::UnetInputs;

/// The state of a job between two steps. Tensors are f32 unless stated otherwise. B pictures; G = 2 with guidance,
/// otherwise 1.
#[derive(Debug)]
pub struct SdxlDenoising {
    pub(super) step: usize,
    /// The first step; above 0 if the job starts from a picture.
    pub(super) first: usize,
    /// The step after the last one.
    pub(super) end: usize,
    /// Number of steps by earlier samplers: of the requests that this one goes on from, or of the first part.
    pub(super) before: usize,
    /// Whether it is in its second part.
    pub(super) in_second: bool,
    /// The requests that go on from the ones before them.
    pub(super) switches: VecDeque<Switch>,
    /// How many of them have gone on.
    pub(super) switched: usize,
    /// What follows these steps.
    pub(super) second: Option<Second>,
    pub(super) model: Model,
    pub(super) encoded: Option<EncodedImage>,
    pub(super) repaint: Option<Repaint>,
    /// The channels after the latents of a UNet with mask input, [B, 1 + C, h, w].
    pub(super) masked: Option<Tensor>,
    pub(super) paste: Option<Paste>,
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) noise: SeededNoise,
    pub(super) guidance: Option<Guidance>,
    pub(super) conditioning: Conditioning,
    pub(super) positive: EncodedPrompt,
    pub(super) negative: Option<EncodedPrompt>,
    pub(super) latents: Tensor,
    pub(super) last: Option<LastStep>,
    /// Watches the latents of all steps.
    pub(super) finite: FiniteWatch,
    /// When the prompts were in the text encoders.
    pub(super) text_time: Range<Instant>,
    pub(super) loras: LoraSet,
    pub(super) controls: ControlSet,
    pub(super) warnings: Vec<PipelineWarning>,
}

/// The encoded input picture of a job; all tensors are [.., C, h, w].
#[derive(Debug, Clone)]
pub struct EncodedImage {
    /// Mean of the autoencoder's posterior.
    pub mean: Tensor,
    /// Logarithm of its variance.
    pub logvar: Tensor,
    /// The noise of the sample from the posterior.
    pub noise: Tensor,
    /// The sample, times the scaling factor.
    pub latents: Tensor,
}

/// The data of an inpainting job, as diffusers' `StableDiffusionXLInpaintPipeline` with a UNet without mask input.
#[derive(Debug)]
pub(super) struct Repaint {
    /// 1 for the part that changes, 0 for the part that stays: [1, 1, h, w].
    pub(super) mask: Tensor,
    /// The latents of the picture: [B, C, h, w].
    pub(super) image: Tensor,
    /// The noise in the first latents: [B, C, h, w].
    pub(super) noise: Tensor,
}

impl Repaint {
    /// The latents before step `step` of those before `end`. The part that stays is replaced by the picture's latents with noise of that
    /// step.
    fn keep(
        &self,
        latents: &Tensor,
        step: usize,
        end: usize,
        sampler: &dyn Sampler,
    ) -> candle_core::Result<Tensor> {
        let own = match step < end {
            true => sampler.add_noise(step, &self.image, &self.noise)?,
            false => self.image.clone(),
        };
        own.broadcast_mul(&self.mask.affine(-1.0, 1.0)?)? + latents.broadcast_mul(&self.mask)?
    }
}

/// Intermediate values of the newest step.
#[derive(Debug)]
pub(super) struct LastStep {
    unet_in: Tensor,
    /// In the UNet's dtype.
    unet_out: Tensor,
    denoised: Tensor,
}

impl SdxlDenoising {
    /// The UNet's inputs for the next step.
    pub(super) fn unet_inputs(&self, dtype: DType) -> candle_core::Result<UnetInputs> {
        let scaled = (&self.latents * self.sampler.input_scale(self.step))?;
        let scaled = match &self.masked {
            Some(masked) => Tensor::cat(&[&scaled, masked], 1)?,
            None => scaled,
        };
        let sample = match self.guidance {
            Some(_) => Tensor::cat(&[&scaled, &scaled], 0)?,
            None => scaled,
        };
        let timestep = self.sampler.timesteps()[self.step] as f32;
        Ok(UnetInputs {
            timesteps: vec![timestep; sample.dim(0)?],
            sample: sample.to_dtype(dtype)?,
            encoder_hidden_states: self.conditioning.embeds.clone(),
            text_embeds: self.conditioning.pooled.clone(),
            time_ids: self.conditioning.time_ids.clone(),
        })
    }

    /// [`SdxlDenoising::unet_inputs`] divided into those of each picture, if each is made as if it were alone: a UNet's
    /// numbers depend on how many rows it has. All of them are one part otherwise.
    pub(super) fn parts(&self, inputs: &UnetInputs) -> candle_core::Result<Vec<UnetInputs>> {
        let pictures = self.noise.shape[0];
        if !self.noise.are_apart() {
            return Ok(vec![inputs.clone()]);
        }
        let rows = |picture: usize| (picture..inputs.timesteps.len()).step_by(pictures);
        let part = |tensor: &Tensor, picture: usize| {
            let rows: candle_core::Result<Vec<_>> =
                rows(picture).map(|row| tensor.narrow(0, row, 1)).collect();
            Tensor::cat(&rows?, 0)
        };
        (0..pictures)
            .map(|picture| {
                Ok(UnetInputs {
                    sample: part(&inputs.sample, picture)?,
                    timesteps: rows(picture).map(|row| inputs.timesteps[row]).collect(),
                    encoder_hidden_states: part(&inputs.encoder_hidden_states, picture)?,
                    text_embeds: part(&inputs.text_embeds, picture)?,
                    time_ids: rows(picture).map(|row| inputs.time_ids[row].clone()).collect(),
                })
            })
            .collect()
    }

    /// The predictions of [`SdxlDenoising::parts`] in the order of the undivided inputs: [G B, C, h, w].
    pub(super) fn joined(&self, parts: &[Tensor]) -> candle_core::Result<Tensor> {
        if let [whole] = parts {
            return Ok(whole.clone());
        }
        let halves = parts.first().map_or(Ok(0), |part| part.dim(0))?;
        let rows = (0..halves).flat_map(|half| parts.iter().map(move |part| part.narrow(0, half, 1)));
        Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    /// Takes a step with the UNet's prediction, [G B, C, h, w] in the UNet's dtype. A GPU is not waited for.
    ///
    /// # Errors
    /// If the device fails, or on a CPU the latents are not finite; see [`SdxlDenoising::check_finite`].
    pub(super) fn advance(
        &mut self,
        unet_inputs: &UnetInputs,
        prediction: Tensor,
    ) -> Result<(), PipelineError> {
        let stepped = match self.step_at_once(&prediction)? {
            Some(stepped) => stepped,
            None => {
                let guided = self.guided(&prediction)?;
                self.sampler.step(self.step, &guided, &self.latents, &mut self.noise)?
            }
        };
        self.finite.see(&stepped.sample)?;
        if self.latents.device().is_cpu() {
            self.check_finite()?;
        }
        self.latents = match &self.repaint {
            Some(repaint) => repaint.keep(&stepped.sample, self.step + 1, self.end, self.sampler.as_ref())?,
            None => stepped.sample,
        };
        self.last = Some(LastStep {
            unet_in: unet_inputs.sample.clone(),
            unet_out: prediction,
            denoised: stepped.denoised,
        });
        self.step += 1;
        Ok(())
    }

    /// Guidance and the sampler's step in one pass, where the step is linear. Not on a CPU, where it saves no time and
    /// would change the last bits of the picture.
    fn step_at_once(&self, prediction: &Tensor) -> candle_core::Result<Option<Stepped>> {
        let (scale, [negative, positive]) = match self.guidance {
            _ if self.latents.device().is_cpu() => return Ok(None),
            Some(Guidance { scale, rescale: 0.0 }) => (scale, halves(prediction)?),
            Some(_) => return Ok(None),
            None => (1.0, [prediction.clone(), prediction.clone()]),
        };
        let Some(step) = self.sampler.linear(self.step) else { return Ok(None) };
        let [sample, denoised] = ops::guided_step([&negative, &positive], scale, &self.latents, step)?;
        Ok(Some(Stepped { sample, denoised }))
    }

    /// The prediction after guidance, in f32, the dtype of the samplers: [B, C, h, w].
    fn guided(&self, prediction: &Tensor) -> candle_core::Result<Tensor> {
        let prediction = prediction.to_dtype(DType::F32)?;
        match self.guidance {
            Some(guidance) => guidance.apply(&prediction),
            None => Ok(prediction),
        }
    }

    /// Takes the newest step's estimate of the finished latents in place of the latents. The part of a picture that a mask
    /// keeps is that of the picture.
    ///
    /// # Errors
    /// If no step was made, or the device fails.
    pub(super) fn take_estimate(&mut self) -> Result<(), PipelineError> {
        let last = self.last.as_ref().ok_or_else(|| PipelineError::fault("there is no estimate yet"))?;
        self.latents = match &self.repaint {
            Some(repaint) => repaint.keep(&last.denoised, self.end, self.end, self.sampler.as_ref())?,
            None => last.denoised.clone(),
        };
        Ok(())
    }

    /// Checks the latents of all steps so far. Waits for the device.
    ///
    /// # Errors
    /// If they are not finite; see [`LoraSet::not_finite`].
    pub(super) fn check_finite(&self) -> Result<(), PipelineError> {
        match self.finite.is_finite()? {
            true => Ok(()),
            false => Err(self.loras.not_finite(&format!("the result of step {}", self.step))),
        }
    }

    /// The encoded prompt.
    pub fn prompt(&self) -> &EncodedPrompt {
        &self.positive
    }

    /// The encoded negative prompt, if there is guidance.
    pub fn negative_prompt(&self) -> Option<&EncodedPrompt> {
        self.negative.as_ref()
    }

    /// The UNet's text embeddings, negative half first: [G B, T, D], in the model's dtype.
    pub fn encoder_hidden_states(&self) -> &Tensor {
        &self.conditioning.embeds
    }

    /// The UNet's pooled embeddings, negative half first: [G B, P], in the model's dtype.
    pub fn text_embeds(&self) -> &Tensor {
        &self.conditioning.pooled
    }

    /// The UNet's size conditioning: G B rows.
    pub fn time_ids(&self) -> &[Vec<f32>] {
        &self.conditioning.time_ids
    }

    /// The input picture, if any.
    pub fn encoded_image(&self) -> Option<&EncodedImage> {
        self.encoded.as_ref()
    }

    /// The sampler's first step; above 0 if the job started from a picture.
    pub fn first_step(&self) -> usize {
        self.first
    }

    /// The step after the sampler's last one; below the number of its steps if the job ends before that.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whether the job is in its second part: with a refiner, or at a larger size.
    pub fn is_second(&self) -> bool {
        self.in_second
    }

    /// Whether the job ends with latents that still have noise.
    pub fn is_part(&self) -> bool {
        self.second.is_none() && self.end < self.sampler.timesteps().len()
    }

    /// The UNet's timesteps in all steps that are not taken yet, and in those of the same part.
    pub fn timesteps(&self) -> Vec<f64> {
        let mut all = self.sampler.timesteps()[self.first..self.end].to_vec();
        if let Some(second) = &self.second {
            let (sampler, Window { first, end }) = second.sampler();
            all.extend(&sampler.timesteps()[first..end]);
        }
        all
    }

    /// The channels after the latents, of a UNet with mask input: mask and masked picture, [B, 1 + C, h, w].
    pub fn masked(&self) -> Option<&Tensor> {
        self.masked.as_ref()
    }

    /// The sampler.
    pub fn sampler(&self) -> &dyn Sampler {
        self.sampler.as_ref()
    }

    /// The newest noise, [B, C, h, w]: that of the first latents, or of the newest step of a stochastic sampler.
    pub fn newest_noise(&self) -> Option<&Tensor> {
        self.noise.newest.as_ref()
    }

    /// The latents: [B, C, h, w].
    pub fn latents(&self) -> &Tensor {
        &self.latents
    }

    /// The UNet's input in the newest step: [G B, C, h, w], in the model's dtype.
    pub fn unet_input(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.unet_in)
    }

    /// The UNet's prediction: [G B, C, h, w], in the model's dtype.
    pub fn unet_output(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.unet_out)
    }

    /// The prediction after guidance: [B, C, h, w].
    ///
    /// # Errors
    /// If the device fails.
    pub fn noise_pred(&self) -> candle_core::Result<Option<Tensor>> {
        self.last.as_ref().map(|l| self.guided(&l.unet_out)).transpose()
    }

    /// The newest step's estimate of the finished latents: [B, C, h, w].
    pub fn denoised(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.denoised)
    }
}
