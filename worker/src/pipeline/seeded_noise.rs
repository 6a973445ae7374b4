//! The noise of a job.

use candle_core::{Device, Tensor};

use super::inputs::Inputs;
use crate::noise::{Generator, GeneratorKind};
use crate::schedulers::Noise;

/// Noise of the latents' shape from the job's own generators.
#[derive(Debug, Clone)]
pub(super) struct SeededNoise {
    /// One for all pictures, or one for each.
    generators: Vec<Generator>,
    pub(super) shape: [usize; 4],
    pub(super) device: Device,
    /// The newest draw, for dumps.
    pub(super) newest: Option<Tensor>,
    /// Number of draws in the latents' shape so far.
    pub(super) draws: usize,
}

impl SeededNoise {
    /// The noise of a request, for latents of this shape. `kind` is the generator, unless the request names one.
    pub(super) fn new(inputs: &Inputs, kind: GeneratorKind, shape: [usize; 4], device: Device) -> Self {
        let kind = inputs.generator.unwrap_or(kind);
        let one = [inputs.seed];
        let seeds = if inputs.seeds.is_empty() { &one[..] } else { &inputs.seeds[..] };
        let generators = seeds.iter().map(|seed| Generator::new(kind, *seed)).collect();
        Self { generators, shape, device, newest: None, draws: 0 }
    }

    /// A draw for one picture by each generator: [generators, C, h, w].
    pub(super) fn draw_for_a_picture(&mut self) -> candle_core::Result<Tensor> {
        self.draw_for(1)
    }

    /// A draw for all pictures, [B, C, h, w], that is not one of the latents' noise.
    pub(super) fn draw_for_all(&mut self) -> candle_core::Result<Tensor> {
        self.draw_for(self.shape[0] / self.generators.len().max(1))
    }

    /// A draw of each generator for so many pictures.
    fn draw_for(&mut self, pictures: usize) -> candle_core::Result<Tensor> {
        let [_, channels, height, width] = self.shape;
        let count = pictures * channels * height * width;
        let values: Vec<f32> = self.generators.iter_mut().flat_map(|one| one.normal(count)).collect();
        let rows = pictures * self.generators.len();
        Tensor::from_vec(values, (rows, channels, height, width), &self.device)
    }

    /// Whether each picture is made as if it were alone.
    pub(super) fn are_apart(&self) -> bool {
        self.generators.len() > 1
    }
}

impl Noise for SeededNoise {
    fn draw(&mut self) -> candle_core::Result<Tensor> {
        let noise = self.draw_for_all()?;
        self.newest = Some(noise.clone());
        self.draws += 1;
        Ok(noise)
    }
}
