//! The warm-up of a loaded model.

use std::time::Instant;

use candle_core::Tensor;

use super::conditioning::Conditioning;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interface::{Description, Pipeline, PreviewKind, RequiredInput};
use super::interrupt::Interrupt;
use super::lora_set::LoraSet;
use super::picture::Rgb;
use super::refiner::Refiner;
use super::sdxl::SdxlPipeline;
use crate::sdxl::ops;
use crate::sdxl::unet::UnetInputs;

/// The side of a warm-up picture on a CPU, in pixels, before rounding up to a multiple.
const WARM_SIDE: u32 = 64;

impl SdxlPipeline {
    /// Runs one short job to load kernels and allocate memory, so that the first real job is not slower than the
    /// others. Only a GPU needs a picture in the model's own size for that, or in the largest size that fits.
    ///
    /// # Errors
    /// As for any job, for example if the model's numbers are not finite.
    pub fn warm(&self) -> Result<(), PipelineError> {
        let begun = Instant::now();
        let mut size = self.warm_size();
        while let Err(error) = self.warm_with(size) {
            let smaller = self.warm_size();
            if !matches!(error, PipelineError::OutOfMemory { .. }) || smaller == size {
                return Err(error);
            }
            size = smaller;
        }
        tracing::info!("warmed up in {:.1} s", begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn warm_size(&self) -> (u32, u32) {
        let Description { native_width, native_height, multiple, .. } = self.describe();
        let most = if self.options.device.is_cpu() { WARM_SIDE.next_multiple_of(multiple) } else { u32::MAX };
        (native_width.min(most), native_height.min(most))
    }

    fn warm_with(&self, (width, height): (u32, u32)) -> Result<(), PipelineError> {
        tracing::info!("warming up with a picture of {width}x{height}");
        let mut inputs = Inputs::new("", width, height);
        inputs.num_inference_steps = 1;
        let picture = || Some(Rgb { width, height, data: vec![255; 3 * width as usize * height as usize] });
        inputs.strength = 1.0;
        (inputs.image, inputs.mask) = match self.required_input() {
            RequiredInput::Nothing => (None, None),
            RequiredInput::Image => (picture(), None),
            RequiredInput::Mask => (picture(), picture()),
        };
        if let Some(refiner) = &self.refiner {
            self.warm_refiner(refiner, &inputs)?;
        }
        let mut denoising = self.begin(&inputs)?;
        self.step(&mut [&mut denoising])?;
        self.preview(&denoising, PreviewKind::Latents)?;
        self.finish(denoising)?;
        Ok(())
    }

    /// One step of the refiner from noise.
    pub(super) fn warm_refiner(&self, refiner: &Refiner, inputs: &Inputs) -> Result<(), PipelineError> {
        let sampler = self.sampler_of(&refiner.scheduler, inputs, inputs.num_inference_steps)?;
        let readings = refiner.text.readings(inputs, &LoraSet::default(), Interrupt::never())?;
        let encoded = refiner.text.encode(inputs, &readings, Interrupt::never())?;
        let prompts = (&encoded.positive, encoded.negative.as_ref());
        let given = Conditioning::new(inputs, prompts, inputs.size(), refiner.sizes, self.options.dtype)?;
        let (vae, rows) = (self.vae.config(), given.time_ids.len());
        let (height, width) = (inputs.height as usize / vae.scale(), inputs.width as usize / vae.scale());
        let shape = (rows, vae.latent_channels, height, width);
        let prediction = refiner.unet.forward(&UnetInputs {
            sample: Tensor::ones(shape, self.options.dtype, &self.options.device)?,
            timesteps: vec![sampler.timesteps()[0] as f32; rows],
            encoder_hidden_states: given.embeds,
            text_embeds: given.pooled,
            time_ids: given.time_ids,
        })?;
        match ops::is_finite(&prediction)? {
            true => Ok(()),
            false => Err(PipelineError::fault("the refiner's prediction is not finite")),
        }
    }
}
