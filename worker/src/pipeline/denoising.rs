//! One running job.

use candle_core::{D, Device, Tensor};

use super::adapters::LoraSet;
use super::conditioning::{Conditioning, EncodedPrompt};
use super::error::PipelineError;
use super::warning::PipelineWarning;
use crate::noise::Generator;
use crate::schedulers::{Noise, Sampler};
use crate::sdxl::unet::UnetInputs;

/// The state of a job between two steps. All tensors are f32 unless stated otherwise; B pictures, G = 2 with
/// guidance and otherwise 1.
#[derive(Debug)]
pub struct SdxlDenoising {
    pub(super) step: usize,
    /// The first step: not 0 if the job started from a picture.
    pub(super) first: usize,
    pub(super) encoded: Option<EncodedImage>,
    pub(super) repaint: Option<Repaint>,
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) noise: SeededNoise,
    pub(super) guidance: Option<Guidance>,
    pub(super) conditioning: Conditioning,
    pub(super) positive: EncodedPrompt,
    pub(super) negative: Option<EncodedPrompt>,
    pub(super) latents: Tensor,
    pub(super) last: Option<LastStep>,
    pub(super) loras: LoraSet,
    pub(super) warnings: Vec<PipelineWarning>,
}

/// The input picture of a job; all [.., C, h, w].
#[derive(Debug, Clone)]
pub struct EncodedImage {
    /// Mean of the autoencoder's posterior.
    pub mean: Tensor,
    /// Logarithm of its variance.
    pub logvar: Tensor,
    /// The draw that chose one point of it.
    pub noise: Tensor,
    /// That point, times the scaling factor.
    pub latents: Tensor,
}

/// A picture of which only a part changes (diffusers' `StableDiffusionXLInpaintPipeline` with a UNet without mask
/// input).
#[derive(Debug)]
pub(super) struct Repaint {
    /// 1 where the picture changes: [1, 1, h, w].
    pub(super) mask: Tensor,
    /// The latents of the picture: [B, C, h, w].
    pub(super) image: Tensor,
    /// The noise that the first latents had: [B, C, h, w].
    pub(super) noise: Tensor,
}

impl Repaint {
    /// The latents before step `step`, replaced by the picture's own latents with the same noise level where it stays.
    fn keep(&self, latents: &Tensor, step: usize, sampler: &dyn Sampler) -> candle_core::Result<Tensor> {
        let own = match step < sampler.timesteps().len() {
            true => sampler.add_noise(step, &self.image, &self.noise)?,
            false => self.image.clone(),
        };
        own.broadcast_mul(&self.mask.affine(-1.0, 1.0)?)? + latents.broadcast_mul(&self.mask)?
    }
}

/// Intermediate values of the newest step.
#[derive(Debug)]
pub(super) struct LastStep {
    pub(super) unet_in: Tensor,
    pub(super) unet_out: Tensor,
    pub(super) noise_pred: Tensor,
    pub(super) denoised: Tensor,
}

/// Noise of the latents' shape from the job's own generator.
#[derive(Debug)]
pub(super) struct SeededNoise {
    pub(super) generator: Generator,
    pub(super) shape: [usize; 4],
    pub(super) device: Device,
    /// The newest draw, for dumps: the first is that of the initial latents.
    pub(super) newest: Option<Tensor>,
    /// Draws of the latents' whole shape so far.
    pub(super) draws: usize,
}

impl SeededNoise {
    /// A draw for the given number of pictures.
    pub(super) fn draw_for(&mut self, pictures: usize) -> candle_core::Result<Tensor> {
        let [_, channels, height, width] = self.shape;
        let values = self.generator.normal(pictures * channels * height * width);
        Tensor::from_vec(values, (pictures, channels, height, width), &self.device)
    }
}

impl Noise for SeededNoise {
    fn draw(&mut self) -> candle_core::Result<Tensor> {
        let noise = self.draw_for(self.shape[0])?;
        self.newest = Some(noise.clone());
        self.draws += 1;
        Ok(noise)
    }
}

/// Classifier-free guidance (Ho and Salimans 2022).
#[derive(Debug, Clone, Copy)]
pub(super) struct Guidance {
    pub(super) scale: f64,
    pub(super) rescale: f64,
}

impl Guidance {
    /// The UNet's two predictions, [2 B, C, h, w] with the negative half first, to one: [B, C, h, w].
    fn apply(self, predictions: &Tensor) -> candle_core::Result<Tensor> {
        let pictures = predictions.dim(0)? / 2;
        let negative = predictions.narrow(0, 0, pictures)?;
        let positive = predictions.narrow(0, pictures, pictures)?;
        let guided = (&negative + ((&positive - &negative)? * self.scale)?)?;
        if self.rescale == 0.0 {
            return Ok(guided);
        }
        // Over-exposed pictures: bring the spread back to that of the positive prediction (Lin et al.
        // 2023, equations 15 and 16).
        let spread =
            |x: &Tensor| x.flatten_from(1)?.var_keepdim(D::Minus1)?.sqrt()?.unsqueeze(2)?.unsqueeze(3);
        let rescaled = guided.broadcast_mul(&(spread(&positive)? / spread(&guided)?)?)?;
        (rescaled * self.rescale)? + (guided * (1.0 - self.rescale))?
    }
}

impl SdxlDenoising {
    /// What the UNet is to be asked for the next step.
    pub(super) fn unet_inputs(&self, dtype: candle_core::DType) -> candle_core::Result<UnetInputs> {
        let scaled = (&self.latents * self.sampler.input_scale(self.step))?;
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

    /// Takes the step with the UNet's prediction.
    pub(super) fn advance(
        &mut self,
        unet_inputs: &UnetInputs,
        prediction: Tensor,
    ) -> Result<(), PipelineError> {
        // The sampler counts in f32 whatever the model's type is.
        let prediction = prediction.to_dtype(candle_core::DType::F32)?;
        let noise_pred = match self.guidance {
            Some(guidance) => guidance.apply(&prediction)?,
            None => prediction.clone(),
        };
        let stepped = self.sampler.step(self.step, &noise_pred, &self.latents, &mut self.noise)?;
        let largest = stepped.sample.abs()?.max_all()?.to_scalar::<f32>()?;
        let sum = stepped.sample.sum_all()?.to_scalar::<f32>()?;
        if !largest.is_finite() || !sum.is_finite() {
            return Err(PipelineError::fault(format!("the latents of step {} are not finite", self.step)));
        }
        self.latents = match &self.repaint {
            Some(repaint) => repaint.keep(&stepped.sample, self.step + 1, self.sampler.as_ref())?,
            None => stepped.sample,
        };
        self.last = Some(LastStep {
            unet_in: unet_inputs.sample.clone(),
            unet_out: prediction,
            noise_pred,
            denoised: stepped.denoised,
        });
        self.step += 1;
        Ok(())
    }

    /// The prompt in both encoders.
    pub fn prompt(&self) -> &EncodedPrompt {
        &self.positive
    }

    /// What to avoid in both encoders, with guidance.
    pub fn negative_prompt(&self) -> Option<&EncodedPrompt> {
        self.negative.as_ref()
    }

    /// Text embeddings as the UNet gets them, negative half first: [G B, T, D], in the model's type.
    pub fn encoder_hidden_states(&self) -> &Tensor {
        &self.conditioning.embeds
    }

    /// Pooled embeddings as the UNet gets them, negative half first: [G B, P], in the model's type.
    pub fn text_embeds(&self) -> &Tensor {
        &self.conditioning.pooled
    }

    /// Size conditioning as the UNet gets it: G B rows.
    pub fn time_ids(&self) -> &[[f32; 6]] {
        &self.conditioning.time_ids
    }

    /// The picture it began from, if any.
    pub fn encoded_image(&self) -> Option<&EncodedImage> {
        self.encoded.as_ref()
    }

    /// The sampler's step that it began with: not 0 where it began from a picture.
    pub fn first_step(&self) -> usize {
        self.first
    }

    /// The sampler with its tables.
    pub fn sampler(&self) -> &dyn Sampler {
        self.sampler.as_ref()
    }

    /// The newest noise that was drawn, [B, C, h, w]: after `begin` that of the first latents, after a
    /// step of a stochastic sampler what that step added.
    pub fn newest_noise(&self) -> Option<&Tensor> {
        self.noise.newest.as_ref()
    }

    /// The latents: [B, C, h, w].
    pub fn latents(&self) -> &Tensor {
        &self.latents
    }

    /// What the UNet was given in the newest step, [G B, C, h, w], in the model's type.
    pub fn unet_input(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.unet_in)
    }

    /// The UNet's prediction: [G B, C, h, w].
    pub fn unet_output(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.unet_out)
    }

    /// The prediction after guidance: [B, C, h, w].
    pub fn noise_pred(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.noise_pred)
    }

    /// The newest step's estimate of the finished latents: [B, C, h, w].
    pub fn denoised(&self) -> Option<&Tensor> {
        self.last.as_ref().map(|l| &l.denoised)
    }
}
