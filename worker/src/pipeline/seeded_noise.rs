//! The noise of a job.

use candle_core::{Device, Tensor};

use crate::noise::Generator;
use crate::schedulers::Noise;

/// Noise of the latents' shape from the job's own generator.
#[derive(Debug, Clone)]
pub(super) struct SeededNoise {
    pub(super) generator: Generator,
    pub(super) shape: [usize; 4],
    pub(super) device: Device,
    /// The newest draw, for dumps.
    pub(super) newest: Option<Tensor>,
    /// Number of draws in the latents' shape so far.
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
