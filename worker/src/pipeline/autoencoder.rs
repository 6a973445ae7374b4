//! The model's autoencoder, in a dtype in which it does not overflow.

use std::cell::OnceCell;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

use super::error::PipelineError;
use super::options::LoadOptions;
use super::source::Source;
use crate::sdxl::vae::{Posterior, Vae, VaeConfig};
use crate::sdxl::{LoadError, Naming, Shards, WeightFiles, ops};

/// A VAE in the model's dtype, or in float32 if its configuration has `force_upcast`. If its activations overflow, it
/// is loaded again in float32, and all later calls use float32.
#[derive(Debug)]
pub(super) struct Autoencoder {
    vae: Vae,
    dtype: DType,
    precise: OnceCell<Vae>,
    /// Kept open for the second load.
    shards: Rc<Shards>,
    naming: Naming,
    device: Device,
}

impl Autoencoder {
    /// Loads the model's autoencoder, or the one that the options name instead.
    pub(super) fn load(source: &Source<'_>, options: &LoadOptions) -> Result<Self, LoadError> {
        let config = source.vae_config()?;
        let (shards, naming) = source.vae(&config)?;
        let dtype = if config.force_upcast { DType::F32 } else { options.dtype };
        let files = WeightFiles::new(shards.clone(), naming.clone(), dtype, &options.device);
        let vae = Vae::new(&files.logged_as("the VAE"), config)?;
        Ok(Self { vae, dtype, precise: OnceCell::new(), shards, naming, device: options.device.clone() })
    }

    pub(super) fn config(&self) -> &VaeConfig {
        self.vae.config()
    }

    /// Decodes the UNet's latents [B, C, h, w] to pictures [B, 3, H, W], f32, about -1..1, not clamped.
    pub(super) fn decode(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        self.finite(|vae, dtype| vae.decode(&latents.to_dtype(dtype)?)?.to_dtype(DType::F32))
    }

    /// Encodes pictures [B, 3, H, W] in -1..1 to the distribution of their latents, f32, before the scaling factor.
    pub(super) fn encode(&self, pictures: &Tensor) -> Result<Posterior, PipelineError> {
        let moments = self.finite(|vae, dtype| {
            let Posterior { mean, logvar } = vae.encode(&pictures.to_dtype(dtype)?)?;
            Tensor::stack(&[mean.to_dtype(DType::F32)?, logvar.to_dtype(DType::F32)?], 0)
        })?;
        Ok(Posterior { mean: moments.get(0)?, logvar: moments.get(1)? })
    }

    /// Runs the network, and runs it again in float32 if the output is not finite.
    fn finite(
        &self,
        run: impl Fn(&Vae, DType) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor, PipelineError> {
        if let Some(vae) = self.precise.get() {
            return Ok(run(vae, DType::F32)?);
        }
        let output = run(&self.vae, self.dtype)?;
        if self.dtype == DType::F32 || ops::is_finite(&output)? {
            return Ok(output);
        }
        tracing::warn!(
            "the autoencoder overflows in {}: this and all further pictures are decoded in float32",
            self.dtype.as_str()
        );
        let (shards, naming) = (self.shards.clone(), self.naming.clone());
        let files = WeightFiles::new(shards, naming, DType::F32, &self.device);
        let vae =
            Vae::new(&files.logged_as("the VAE in float32"), self.config().clone()).map_err(|error| {
                // The client must not see the operator's paths.
                tracing::error!("{error}");
                PipelineError::fault("the VAE could not be loaded in float32: the worker's log says why")
            })?;
        Ok(run(self.precise.get_or_init(|| vae), DType::F32)?)
    }
}
