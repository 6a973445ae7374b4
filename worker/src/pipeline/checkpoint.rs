//! The checkpoint of a running job: the state that cannot be computed again from the request.
//!
//! It has the latents, the sampler's state from earlier steps, and the number of noise draws. It is a safetensors file
//! in f32, the samplers' dtype, so that the next attempt ends with the same picture.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::denoising::SdxlDenoising;
use super::error::PipelineError;
use crate::schedulers::SamplerState;

/// The prefix of the names of the sampler's tensors.
const SAMPLER: &str = "sampler.";
/// The number of a checkpoint in the second part of a job.
const SECOND: &str = "second";
/// The number of requests that have gone on from others.
const SWITCHED: &str = "switched";

impl SdxlDenoising {
    /// The checkpoint for [`SdxlDenoising::restore`].
    pub(super) fn save(&self) -> Result<Vec<u8>, PipelineError> {
        let mut numbers = vec![("step", self.step), ("draws", self.noise.draws), ("steps", self.steps())];
        if self.in_second {
            numbers.push((SECOND, 1));
        }
        if self.switched > 0 {
            numbers.push((SWITCHED, self.switched));
        }
        serialize(&self.latents, self.sampler.state(), &numbers)
    }

    /// Resumes a new job from a checkpoint.
    ///
    /// # Errors
    /// What is wrong, if the checkpoint belongs to another job or version. The job then starts over.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let texts = header.metadata().clone().unwrap_or_default();
        let number = |key: &str| -> Result<usize, String> {
            texts.get(key).and_then(|n| n.parse().ok()).ok_or_else(|| format!("it has no {key}"))
        };
        let (step, draws, steps) = (number("step")?, number("draws")?, number("steps")?);
        if texts.contains_key(SWITCHED) {
            for _ in 0..number(SWITCHED)?.min(self.switches.len() + 1) {
                self.skip_to_switch()?;
            }
        }
        if texts.contains_key(SECOND) {
            self.skip_to_second()?;
        }
        // Besides the first draws there is at most one draw per call of the UNet.
        let most = self.noise.draws + self.before + steps;
        if steps != self.steps() || !(self.first..=self.end).contains(&step) || draws > most {
            return Err(format!("it is for step {step} of {steps}, and this job has {} steps", self.steps()));
        }
        let device = self.latents.device().clone();
        let mut state = HashMap::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?.iter() {
            // All tensors have the shape of the latents.
            if view.shape() != self.latents.dims() {
                return Err(format!(
                    "its {name} has shape {:?}, not {:?}",
                    view.shape(),
                    self.latents.dims()
                ));
            }
            state.insert(name.to_owned(), tensor(&view, &device)?);
        }
        let latents = state.remove("latents").ok_or("it has no latents")?;
        let mut sampler = HashMap::new();
        for (name, tensor) in state {
            let name = name.strip_prefix(SAMPLER).ok_or_else(|| format!("it has a tensor {name}"))?;
            sampler.insert(name.to_owned(), tensor);
        }
        self.sampler.restore(step - self.first, sampler)?;
        while self.noise.draws < draws {
            crate::schedulers::Noise::draw(&mut self.noise).map_err(|e| e.to_string())?;
        }
        (self.step, self.latents) = (step, latents);
        Ok(())
    }

    fn steps(&self) -> usize {
        self.sampler.timesteps().len()
    }
}

fn serialize(
    latents: &Tensor,
    sampler: SamplerState,
    numbers: &[(&str, usize)],
) -> Result<Vec<u8>, PipelineError> {
    let state = sampler.into_iter();
    let mut tensors: Vec<_> = state.map(|(name, tensor)| (format!("{SAMPLER}{name}"), tensor)).collect();
    tensors.push(("latents".to_owned(), latents.clone()));
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        stored.push((name.as_str(), tensor.dims().to_vec(), bytes));
    }
    let views = stored.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
    });
    let broken = |e: safetensors::SafeTensorError| PipelineError::fault(format!("checkpoint: {e}"));
    let views = views.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let numbers = numbers.iter().map(|(key, number)| ((*key).to_owned(), number.to_string()));
    safetensors::serialize(views, Some(numbers.collect())).map_err(broken)
}

fn tensor(view: &TensorView<'_>, device: &Device) -> Result<Tensor, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("it has a tensor of dtype {:?}", view.dtype()));
    }
    Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), device).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use glimpse_shared::request::{MAX_IMAGES, MAX_PIXELS};
    use glimpse_shared::store::Checkpoint;
    use serde_json::json;

    use super::*;
    use crate::schedulers::{Noise, SCHEDULERS, SchedulerConfig};
    use crate::sdxl::Settings;

    struct ConstantNoise(Tensor);

    impl Noise for ConstantNoise {
        fn draw(&mut self) -> candle_core::Result<Tensor> {
            Ok(self.0.clone())
        }
    }

    /// The size of the largest checkpoint of a job's first steps.
    fn largest(class: &str, order: u64, latents: &Tensor) -> usize {
        let text = json!({ "_class_name": class, "solver_order": order }).to_string();
        let settings = Settings::parse(&text, Path::new("scheduler_config.json")).unwrap();
        let mut sampler = SchedulerConfig::read(settings).unwrap().sampler(10).unwrap();
        let (mut noise, mut sample, mut largest) = (ConstantNoise(latents.clone()), latents.clone(), 0);
        for step in 0..6 {
            sample = sampler.step(step, latents, &sample, &mut noise).unwrap().sample;
            let numbers = [("step", step), ("draws", 1), ("steps", 10)];
            largest = serialize(&sample, sampler.state(), &numbers).unwrap().len().max(largest);
        }
        largest
    }

    #[test]
    fn the_largest_job_of_every_sampler_has_a_checkpoint_that_is_kept() {
        let shape = (MAX_IMAGES as usize, 4, 128, 256);
        assert_eq!(128 * 8 * 256 * 8, MAX_PIXELS);
        let latents = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for class in SCHEDULERS {
            // Orders above 3 are unusual.
            for order in 1..=3 {
                let size = largest(class, order, &latents);
                assert!(Checkpoint::new(vec![0; size]).is_some(), "{class} of order {order}: {size} bytes");
            }
        }
        // The limit is tight: one more tensor does not fit.
        let tensor = 4 * MAX_IMAGES as usize * MAX_PIXELS as usize / 64 * 4;
        assert!(Checkpoint::new(vec![0; largest("UniPCMultistepScheduler", 3, &latents) + tensor]).is_none());
    }
}
