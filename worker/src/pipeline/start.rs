//! The first latents of a job: noise, or a picture with noise, or latents. As `prepare_latents` and
//! `prepare_mask_latents` of diffusers' `StableDiffusionXLPipeline`, `…Img2ImgPipeline` and `…InpaintPipeline`.

use std::borrow::Cow;

use candle_core::Tensor;

use super::autoencoder::Autoencoder;
use super::crop::Paste;
use super::denoising::{EncodedImage, Repaint, SeededNoise};
use super::error::PipelineError;
use super::inputs::{InputLatents, Inputs};
use super::picture::Rgb;
use crate::schedulers::{Noise, Sampler};
use crate::sdxl::vae::Posterior;

/// The start of a job.
pub(super) struct Start {
    /// The first latents, [B, C, h, w].
    pub(super) latents: Tensor,
    /// The picture that was encoded first.
    pub(super) encoded: Option<EncodedImage>,
    /// The data of an inpainting job, for a UNet without mask input.
    pub(super) repaint: Option<Repaint>,
    /// The channels after the latents, for a UNet with mask input: mask and masked picture, [B, 1 + C, h, w].
    pub(super) masked: Option<Tensor>,
    /// What is pasted back, if the job is for a part of its picture.
    pub(super) paste: Option<Paste>,
}

impl Start {
    /// Draws the noise in diffusers' order. `first` is the sampler's first step; `takes_mask` says whether the UNet has
    /// mask input.
    pub(super) fn new(
        inputs: &Inputs,
        vae: &Autoencoder,
        sampler: &dyn Sampler,
        first: usize,
        takes_mask: bool,
        noise: &mut SeededNoise,
    ) -> Result<Self, PipelineError> {
        let plain = |latents| Self { latents, encoded: None, repaint: None, masked: None, paste: None };
        if let Some(given) = &inputs.latents {
            let given = latents_of(given, noise)?;
            return Ok(plain(match inputs.denoising_start {
                Some(_) => given,
                None => sampler.add_noise(first, &given, &noise.draw()?)?,
            }));
        }
        let Some(Pictures { image, mask, paste }) = Pictures::of(inputs)? else {
            return Ok(plain((noise.draw()? * sampler.init_noise_sigma())?));
        };
        let pictures = inputs.num_images_per_prompt;
        let repeated = |image: &EncodedImage| match image.latents.dim(0)? {
            1 => image.latents.repeat((pictures, 1, 1, 1)),
            _ => Ok(image.latents.clone()),
        };
        // Inpainting with strength 1 starts from pure noise.
        let from_noise = mask.is_some() && inputs.strength == 1.0;
        // diffusers draws the posterior's noise before that of the latents.
        let encoded = match from_noise && takes_mask {
            true => None,
            false => Some(encode_image(vae, &image.to_tensor(&noise.device)?, noise)?),
        };
        let own = encoded.as_ref().map(repeated).transpose()?;
        if let (Some(own), Some(_)) = (&own, inputs.denoising_start) {
            return Ok(Self { encoded, ..plain(own.clone()) });
        }
        let drawn = noise.draw()?;
        let latents = match &own {
            Some(own) if !from_noise => sampler.add_noise(first, own, &drawn)?,
            _ => (&drawn * sampler.init_noise_sigma())?,
        };
        let start = Self { encoded, paste, ..plain(latents) };
        let Some(mask) = mask else { return Ok(start) };
        let small = mask.mask(vae.config().scale(), &noise.device)?;
        if takes_mask {
            let hidden = encode_image(vae, &image.hidden(&mask, &noise.device)?, noise)?;
            let masked = Tensor::cat(&[&small.repeat((pictures, 1, 1, 1))?, &repeated(&hidden)?], 1)?;
            return Ok(Self { encoded: start.encoded.or(Some(hidden)), masked: Some(masked), ..start });
        }
        // diffusers encodes the masked picture here too. Only its draw matters: it advances the generator.
        noise.draw_for_a_picture()?;
        let repaint = own.map(|image| Repaint { mask: small, image, noise: drawn });
        Ok(Self { repaint, ..start })
    }
}

/// The pictures of a job in the size of its latents.
struct Pictures<'a> {
    image: Cow<'a, Rgb>,
    mask: Option<Cow<'a, Rgb>>,
    paste: Option<Paste>,
}

impl<'a> Pictures<'a> {
    fn of(inputs: &'a Inputs) -> Result<Option<Self>, PipelineError> {
        let Some(image) = &inputs.image else { return Ok(None) };
        let (width, height) = (inputs.width, inputs.height);
        if let (Some(margin), Some(mask)) = (inputs.padding_mask_crop, &inputs.mask) {
            let (paste, [image, mask]) = Paste::cut(image, mask, (width, height), margin)?;
            return Ok(Some(Self {
                image: Cow::Owned(image),
                mask: Some(Cow::Owned(mask)),
                paste: Some(paste),
            }));
        }
        let mask = inputs.mask.as_ref().map(|mask| mask.resized(width, height));
        Ok(Some(Self { image: image.resized(width, height), mask, paste: None }))
    }
}

/// The latents of a request, for each picture: [B, C, h, w].
fn latents_of(given: &InputLatents, noise: &SeededNoise) -> Result<Tensor, PipelineError> {
    let InputLatents { shape, values } = given;
    let [pictures, ..] = noise.shape;
    let fits = shape[1..] == noise.shape[1..] && (shape[0] == 1 || shape[0] == pictures);
    if !fits || values.len() != shape.iter().product::<usize>() {
        let message = format!("are {shape:?}, and the job's are {:?}", noise.shape);
        return Err(PipelineError::bad("latents", message));
    }
    let latents = Tensor::from_slice(values, shape, &noise.device)?;
    Ok(latents.repeat((pictures / shape[0], 1, 1, 1))?)
}

/// Encodes a picture [1, 3, H, W] in -1..1.
fn encode_image(
    vae: &Autoencoder,
    image: &Tensor,
    noise: &mut SeededNoise,
) -> Result<EncodedImage, PipelineError> {
    let Posterior { mean, logvar } = vae.encode(image)?;
    let draw = noise.draw_for_a_picture()?;
    let point = mean.broadcast_add(&(&logvar * 0.5)?.exp()?.broadcast_mul(&draw)?)?;
    let latents = vae.config().normalisation.to_unet(&point)?;
    Ok(EncodedImage { mean, logvar, noise: draw, latents })
}
