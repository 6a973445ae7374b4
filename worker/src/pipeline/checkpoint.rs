//! A job in flight as bytes: what is lost with a worker and cannot be computed again from the request.
//!
//! Prompts, conditioning and the first noise come again from the request. The rest is the latents, the sampler's
//! memory of earlier steps, and how often it has drawn noise: a safetensors file of a few hundred KB, in the
//! samplers' own f32, so that the next attempt ends with the same picture.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::denoising::SdxlDenoising;
use super::error::PipelineError;

/// Names of the sampler's tensors begin like that.
const SAMPLER: &str = "sampler.";

impl SdxlDenoising {
    /// Everything that [`SdxlDenoising::restore`] needs.
    pub(super) fn save(&self) -> Result<Vec<u8>, PipelineError> {
        let state = self.sampler.state().into_iter();
        let mut tensors: Vec<_> = state.map(|(name, tensor)| (format!("{SAMPLER}{name}"), tensor)).collect();
        tensors.push(("latents".to_owned(), self.latents.clone()));
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
        let numbers = [("step", self.step), ("draws", self.noise.draws), ("steps", self.steps())];
        let numbers = numbers.map(|(key, number)| (key.to_owned(), number.to_string()));
        safetensors::serialize(views, Some(HashMap::from(numbers))).map_err(broken)
    }

    /// Moves a job that has just begun on to where the checkpoint was taken.
    ///
    /// # Errors
    /// With what is wrong, if the bytes are of another job or another version's; the job is then to begin anew.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let texts = header.metadata().clone().unwrap_or_default();
        let number = |key: &str| -> Result<usize, String> {
            texts.get(key).and_then(|n| n.parse().ok()).ok_or_else(|| format!("it has no {key}"))
        };
        let (step, draws, steps) = (number("step")?, number("draws")?, number("steps")?);
        // One draw per call of the UNet at most, besides the first ones.
        if steps != self.steps() || !(self.step..=steps).contains(&step) || draws > self.noise.draws + steps {
            return Err(format!("it is of step {step} of {steps}, and this job has {}", self.steps()));
        }
        let device = self.latents.device().clone();
        let mut state = HashMap::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?.iter() {
            // All that a sampler remembers are latents too.
            if view.shape() != self.latents.dims() {
                return Err(format!("its {name} are {:?} and not {:?}", view.shape(), self.latents.dims()));
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

fn tensor(view: &TensorView<'_>, device: &Device) -> Result<Tensor, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("it has numbers of type {:?}", view.dtype()));
    }
    Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), device).map_err(|e| e.to_string())
}
