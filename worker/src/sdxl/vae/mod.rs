//! The autoencoder: diffusers' `AutoencoderKL` (`models/autoencoders/autoencoder_kl.py`, `vae.py`).

mod config;
mod decoder;
mod encoder;
mod mid;
mod normalisation;
mod tiles;

pub use config::VaeConfig;
pub use normalisation::Normalisation;
pub use tiles::Tiles;

use std::rc::Rc;

use candle_core::Tensor;

use self::decoder::Decoder;
use self::encoder::Encoder;
use super::error::LoadError;
use super::layers::Conv2d;
use super::taps::Taps;
use super::weights::{Naming, Shards, Stored, View, WeightFiles};

/// The distribution of a picture's latents: a normal distribution per latent.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Mean: [B, C, h, w].
    pub mean: Tensor,
    /// Logarithm of the variance, clamped to -30..20: [B, C, h, w].
    pub logvar: Tensor,
}

/// The naming of files in the diffusers layout. Before diffusers 0.15 the attention had other names.
pub fn naming(shards: &Shards) -> Naming {
    if !shards.has_any("decoder.mid_block.attentions.0.query.") {
        return Naming::diffusers();
    }
    Naming::new("", |name| {
        let mut name = name.to_owned();
        for (new, old) in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")] {
            name = name.replace(&format!(".attentions.0.{new}."), &format!(".attentions.0.{old}."));
        }
        Stored { name, view: View::Whole }
    })
}

/// The autoencoder.
#[derive(Debug)]
pub struct Vae {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    config: VaeConfig,
}

impl Vae {
    /// Loads the autoencoder.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(files: &Rc<WeightFiles>, config: VaeConfig) -> Result<Self, LoadError> {
        let root = files.root();
        let conv = |name: &str, channels, wanted: bool| {
            wanted.then(|| Conv2d::new(&root.at(name), channels, channels, 1)).transpose()
        };
        let vae = Self {
            encoder: Encoder::new(&root.at("encoder"), &config)?,
            quant_conv: conv("quant_conv", 2 * config.latent_channels, config.use_quant_conv)?,
            post_quant_conv: conv("post_quant_conv", config.latent_channels, config.use_post_quant_conv)?,
            decoder: Decoder::new(&root.at("decoder"), &config)?,
            config,
        };
        files.finish(|_| false)?;
        Ok(vae)
    }

    /// The configuration of this autoencoder.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Decodes the UNet's latents [B, C, h, w] to pictures [B, 3, H, W], about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        self.decode_observed(latents, &mut Taps::none())
    }

    /// [`Vae::decode`], and passes the output of each module to `taps`.
    ///
    /// # Errors
    /// As [`Vae::decode`].
    pub fn decode_observed(&self, latents: &Tensor, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        self.decode_scaled(&self.config.normalisation.from_unet(latents)?, taps)
    }

    /// [`Vae::decode`] in tiles, if the latents are larger than one: another picture, with less memory.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode_tiled(&self, latents: &Tensor, tiles: Tiles) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = latents.dims4()?;
        if !tiles.divide(height, width) {
            return self.decode(latents);
        }
        let z = self.config.normalisation.from_unet(latents)?;
        tiles.decode(&z, self.config.scale(), |tile| self.decode_scaled(tile, &mut Taps::none()))
    }

    fn decode_scaled(&self, z: &Tensor, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let Some(conv) = &self.post_quant_conv else { return self.decoder.forward(z, taps) };
        let z = conv.forward(z)?;
        taps.see(format_args!("post_quant_conv"), &z);
        self.decoder.forward(&z, taps)
    }

    /// Encodes pictures [B, 3, H, W] in -1..1 to the distribution of their latents, before the scaling factor.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode(&self, pictures: &Tensor) -> candle_core::Result<Posterior> {
        self.posterior(&self.moments(pictures)?)
    }

    /// [`Vae::encode`] in tiles, if the pictures are larger than one: other latents, with less memory.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode_tiled(&self, pictures: &Tensor, tiles: Tiles) -> candle_core::Result<Posterior> {
        let (_, _, height, width) = pictures.dims4()?;
        let scale = self.config.scale();
        if !tiles.divide(height.div_ceil(scale), width.div_ceil(scale)) {
            return self.encode(pictures);
        }
        self.posterior(&tiles.encode(pictures, scale, |tile| self.moments(tile))?)
    }

    /// Mean and logarithm of the variance, [B, 2 C, h, w].
    fn moments(&self, pictures: &Tensor) -> candle_core::Result<Tensor> {
        let moments = self.encoder.forward(pictures)?;
        match &self.quant_conv {
            Some(conv) => conv.forward(&moments),
            None => Ok(moments),
        }
    }

    fn posterior(&self, moments: &Tensor) -> candle_core::Result<Posterior> {
        let channels = self.config.latent_channels;
        Ok(Posterior {
            mean: moments.narrow(1, 0, channels)?.contiguous()?,
            logvar: moments.narrow(1, channels, channels)?.clamp(-30.0, 20.0)?,
        })
    }
}
