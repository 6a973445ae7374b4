//! The first latents of a job: noise, or a picture with noise. As `prepare_latents` and `prepare_mask_latents` of
//! diffusers' `StableDiffusionXLPipeline`, `…Img2ImgPipeline` and `…InpaintPipeline`.

use candle_core::Tensor;

use super::autoencoder::Autoencoder;
use super::denoising::{EncodedImage, Repaint, SeededNoise};
use super::error::PipelineError;
use super::inputs::Inputs;
use super::picture::Rgb;
use crate::schedulers::{Noise, Sampler};
use crate::sdxl::vae::Posterior;

/// The start of a job.
pub(super) struct Start {
    /// The sampler's first step.
    pub(super) first: usize,
    /// The first latents, [B, C, h, w].
    pub(super) latents: Tensor,
    /// The input picture.
    pub(super) encoded: Option<EncodedImage>,
    /// The data of an inpainting job.
    pub(super) repaint: Option<Repaint>,
}

impl Start {
    /// Draws the noise in diffusers' order.
    pub(super) fn new(
        inputs: &Inputs,
        vae: &Autoencoder,
        sampler: &dyn Sampler,
        noise: &mut SeededNoise,
    ) -> Result<Self, PipelineError> {
        let Some(image) = &inputs.image else {
            let latents = (noise.draw()? * sampler.init_noise_sigma())?;
            return Ok(Self { first: 0, latents, encoded: None, repaint: None });
        };
        // The number of last steps to run, in double precision as in diffusers.
        let taken = (inputs.num_inference_steps as f64 * inputs.strength) as usize;
        let first = inputs.num_inference_steps.saturating_sub(taken) * sampler.calls_per_step();
        if first >= sampler.timesteps().len() {
            return Err(PipelineError::bad("strength", "is too small: no step is left to run"));
        }
        // diffusers draws the posterior's noise before that of the latents.
        let encoded = encode_image(vae, &image.resized(inputs.width, inputs.height), noise)?;
        let repeated = match encoded.latents.dim(0)? {
            1 => encoded.latents.repeat((inputs.num_images_per_prompt, 1, 1, 1))?,
            _ => encoded.latents.clone(),
        };
        let drawn = noise.draw()?;
        let noised = |sampler: &dyn Sampler| sampler.add_noise(first, &repeated, &drawn);
        let (latents, repaint) = match &inputs.mask {
            None => (noised(sampler)?, None),
            Some(mask) => {
                // Inpainting with strength 1 starts from pure noise.
                let latents = match inputs.strength {
                    1.0 => (&drawn * sampler.init_noise_sigma())?,
                    _ => noised(sampler)?,
                };
                // diffusers also encodes the masked picture, for UNets with mask input. Only its draw matters here: it
                // advances the generator.
                noise.draw_for_a_picture()?;
                let scale = vae.config().scale();
                let mask = mask.resized(inputs.width, inputs.height).mask(scale, &noise.device)?;
                (latents, Some(Repaint { mask, image: repeated, noise: drawn }))
            }
        };
        Ok(Self { first, latents, encoded: Some(encoded), repaint })
    }
}

fn encode_image(
    vae: &Autoencoder,
    image: &Rgb,
    noise: &mut SeededNoise,
) -> Result<EncodedImage, PipelineError> {
    let Posterior { mean, logvar } = vae.encode(&image.to_tensor(&noise.device)?)?;
    let draw = noise.draw_for_a_picture()?;
    let point = mean.broadcast_add(&(&logvar * 0.5)?.exp()?.broadcast_mul(&draw)?)?;
    let latents = vae.config().normalisation.to_unet(&point)?;
    Ok(EncodedImage { mean, logvar, noise: draw, latents })
}
