//! The embeddings of timesteps and sizes: diffusers' `Timesteps` and `TimestepEmbedding` (`models/embeddings.py`).

use candle_core::{DType, Device, Tensor};

use crate::sdxl::error::LoadError;
use crate::sdxl::layers::Linear;
use crate::sdxl::ops::Activation;
use crate::sdxl::weights::Vars;

/// Sinusoidal embedding (Vaswani et al. 2017): cosine and sine of t * 10000^(-i / (N/2 - shift)).
#[derive(Debug, Clone)]
pub(crate) struct Timesteps {
    frequencies: Vec<f32>,
    width: usize,
    cosines_first: bool,
}

impl Timesteps {
    /// An embedding of `width` numbers.
    pub(crate) fn new(width: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Self {
        let half = width / 2;
        let step = -(10_000f64.ln()) as f32;
        // In f32 as in diffusers: at t = 1000 the rounding of the angle changes the fifth digit.
        let frequencies =
            (0..half).map(|i| (step * i as f32 / (half as f64 - freq_shift) as f32).exp()).collect();
        Self { frequencies, width, cosines_first: flip_sin_to_cos }
    }

    /// Embeds N values: [N, width] in `dtype`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(
        &self,
        values: &[f32],
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut rows = Vec::with_capacity(values.len() * self.width);
        for value in values {
            let sines = self.frequencies.iter().map(|f| (value * f).sin());
            let cosines = self.frequencies.iter().map(|f| (value * f).cos());
            if self.cosines_first {
                rows.extend(cosines.chain(sines));
            } else {
                rows.extend(sines.chain(cosines));
            }
            if self.width % 2 == 1 {
                rows.push(0.0);
            }
        }
        Tensor::from_vec(rows, (values.len(), self.width), device)?.to_dtype(dtype)
    }
}

/// Two linear layers with an activation between them.
#[derive(Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    activation: Activation,
}

impl TimestepEmbedding {
    /// Loads the layers.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(
        vars: &Vars,
        inputs: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            linear_1: Linear::new(&vars.at("linear_1"), inputs, width)?,
            linear_2: Linear::new(&vars.at("linear_2"), width, width)?,
            activation,
        })
    }

    /// `x` [B, inputs] gives [B, width].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.linear_2.forward(&self.activation.forward(&self.linear_1.forward(x)?)?)
    }
}
