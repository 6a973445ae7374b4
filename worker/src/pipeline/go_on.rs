//! Jobs in two parts: a base model and its refiner, or a first pass and one at a larger size.

use candle_core::Tensor;

use super::conditioning::{Conditioning, EncodedPrompt, EncodedPrompts};
use super::controlnets::ControlSet;
use super::denoising::{SdxlDenoising, SeededNoise};
use super::error::PipelineError;
use super::inputs::{HeightWidth, Hires, Inputs, SizeRule};
use super::interrupt::Interrupt;
use super::lora_set::LoraSet;
use super::memory::JobSize;
use super::picture::Rgb;
use super::sdxl::SdxlPipeline;
use super::second::{Model, Second};
use super::window::Window;
use crate::sdxl::vae::Posterior;

impl SdxlDenoising {
    /// Goes on with the second part, from these latents.
    fn go_on(&mut self, second: Second, latents: Tensor) {
        let Second { model, sampler, window, conditioning, noise } = second;
        self.before += self.end - self.first;
        self.in_second = true;
        (self.step, self.first, self.end) = (window.first, window.first, window.end);
        (self.model, self.sampler, self.conditioning) = (model, sampler, conditioning);
        self.noise = noise.unwrap_or_else(|| self.noise.clone());
        // They are for the first part's UNet and size.
        self.controls = ControlSet::default();
        self.latents = latents;
    }

    /// Goes on with the second part, with latents of its shape that a checkpoint replaces.
    ///
    /// # Errors
    /// If there is none, or the device fails.
    pub(super) fn skip_to_second(&mut self) -> Result<(), String> {
        let mut second = self.second.take().ok_or("it is for the second part of a job")?;
        let draws = second.draws().map_err(|error| error.to_string())?;
        let latents = draws.map_or_else(|| self.latents.clone(), |[_, drawn]| drawn);
        self.go_on(second, latents);
        Ok(())
    }
}

impl SdxlPipeline {
    /// Prepares the second part of a job, if it has one. `prompts` are those of the first part.
    pub(super) fn second(
        &self,
        inputs: &Inputs,
        prompts: (&EncodedPrompt, Option<&EncodedPrompt>),
        loras: &LoraSet,
        noise: &SeededNoise,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Second>, PipelineError> {
        if let Some(share) = inputs.denoising_end.filter(|_| inputs.refined) {
            return self.refined(inputs, share, loras, interrupt).map(Some);
        }
        let Some(hires) = inputs.hires else { return Ok(None) };
        let Hires { strength, steps, .. } = hires;
        let size = self.enlarged_size(inputs, hires)?;
        let sampler = self.sampler_of(&self.scheduler, inputs, steps)?;
        let window = Window::last(steps, strength, sampler.as_ref())?;
        let conditioning =
            Conditioning::new(inputs, prompts, size, SizeRule::ImageToImage, self.options.dtype)?;
        let [pictures, channels, ..] = noise.shape;
        let scale = self.vae.config().scale();
        let shape = [pictures, channels, size.height as usize / scale, size.width as usize / scale];
        let noise = SeededNoise::new(inputs, self.options.generator, shape, noise.device.clone());
        Ok(Some(Second { model: Model::Own, sampler, window, conditioning, noise: Some(noise) }))
    }

    fn refined(
        &self,
        inputs: &Inputs,
        share: f64,
        loras: &LoraSet,
        interrupt: Interrupt<'_>,
    ) -> Result<Second, PipelineError> {
        let Some(refiner) = &self.refiner else {
            return Err(PipelineError::bad("denoising_end", "this worker has no refiner (--refiner)"));
        };
        if inputs.mask.is_some() {
            let message = "a refiner does not keep what the mask keeps: leave out one of both";
            return Err(PipelineError::bad("denoising_end", message));
        }
        let sampler = self.sampler_of(&refiner.scheduler, inputs, inputs.num_inference_steps)?;
        let window = Window::after(share, sampler.as_ref(), Self::train_timesteps(&refiner.scheduler)?)?;
        let readings = refiner.text.readings(inputs, loras, interrupt)?;
        let encode = || refiner.text.encode(inputs, &readings, interrupt);
        let EncodedPrompts { positive, negative, .. } =
            self.memory.retried("the refiner's prompts", encode)?;
        let prompts = (&positive, negative.as_ref());
        let conditioning =
            Conditioning::new(inputs, prompts, inputs.size(), refiner.sizes, self.options.dtype)?;
        Ok(Second { model: Model::Refiner, sampler, window, conditioning, noise: None })
    }

    /// The size of a second pass.
    fn enlarged_size(&self, inputs: &Inputs, hires: Hires) -> Result<HeightWidth, PipelineError> {
        let multiple = self.vae.config().scale() as f64;
        let side = |side: u32| ((f64::from(side) * hires.scale / multiple + 0.5).floor() * multiple) as u32;
        let (width, height) = (side(inputs.width), side(inputs.height));
        let (pixels, most) = (u64::from(width) * u64::from(height), self.options.max_pixels);
        if pixels > most {
            let message = format!("makes {width}x{height} of it, {pixels} pixels, and the limit is {most}");
            return Err(PipelineError::bad("hires", message));
        }
        self.memory.check(JobSize { width, height, pictures: inputs.num_images_per_prompt })?;
        Ok(HeightWidth { height, width })
    }

    /// Goes on with the second part, if the first is done.
    pub(super) fn go_on(
        &self,
        denoising: &mut SdxlDenoising,
        interrupt: Interrupt<'_>,
    ) -> Result<(), PipelineError> {
        if denoising.step < denoising.end {
            return Ok(());
        }
        let Some(mut second) = denoising.second.take() else { return Ok(()) };
        let latents = match second.draws()? {
            None => denoising.latents.clone(),
            Some(draws) => self.enlarged(denoising, &second, draws, interrupt)?,
        };
        denoising.go_on(second, latents);
        Ok(())
    }

    /// The first latents of a pass at a larger size, [B, C, h, w]: the finished pictures of the first pass, resized as
    /// by Pillow, encoded, and with noise.
    fn enlarged(
        &self,
        denoising: &SdxlDenoising,
        second: &Second,
        [draw, drawn]: [Tensor; 2],
        interrupt: Interrupt<'_>,
    ) -> Result<Tensor, PipelineError> {
        denoising.check_finite()?;
        let pictures = denoising.latents.dim(0)?;
        let size = |latents: &Tensor| self.size(&latents.dims()[2..], 1);
        let (small, large) = (size(&denoising.latents), size(&drawn));
        let (mut means, mut logvars) = (Vec::new(), Vec::new());
        for i in 0..pictures {
            interrupt.check()?;
            let decoded = self.memory.named(small, self.decode(&denoising.latents.narrow(0, i, 1)?))?;
            let decoded = Rgb::from_tensor(&decoded)?;
            for picture in
                decoded.ok_or_else(|| denoising.loras.not_finite("the picture of the first pass"))?
            {
                interrupt.check()?;
                let resized = picture.resized(large.width, large.height);
                let encoded = self.vae.encode(&resized.to_tensor(draw.device())?);
                let Posterior { mean, logvar } = self.memory.named(large, encoded)?;
                means.push(mean);
                logvars.push(logvar);
            }
        }
        let (mean, logvar) = (Tensor::cat(&means, 0)?, Tensor::cat(&logvars, 0)?);
        let point = (mean + ((logvar * 0.5)?.exp()? * draw)?)?;
        let latents = self.vae.config().normalisation.to_unet(&point)?;
        Ok(second.sampler.add_noise(second.window.first, &latents, &drawn)?)
    }
}
