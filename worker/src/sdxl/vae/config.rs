//! The autoencoder's `config.json`.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::normalisation::Normalisation;
use super::tiles::Tiles;
use crate::sdxl::error::LoadError;
use crate::sdxl::ops::Activation;
use crate::sdxl::resnet::NormConfig;
use crate::sdxl::settings::{MAX_LAYERS, MAX_SIZE, Settings};

/// The epsilon of all norms; a constant in diffusers.
const EPS: f64 = 1e-6;

/// The side of a tile, in pixels. diffusers' tiles have the side of `sample_size`, which for SDXL is the whole picture.
/// Larger tiles than these save too little memory; in smaller ones the norms and the attention see too little.
const TILE: RangeInclusive<u64> = 256..=512;

/// The settings of an `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// Channels of each level, largest picture first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder. The decoder has one more per level.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// The group norms.
    pub norm: NormConfig,
    /// How the UNet's latents follow from the autoencoder's.
    pub normalisation: Normalisation,
    /// Whether the autoencoder overflows in float16 and must use float32.
    pub force_upcast: bool,
    /// Whether there is a 1x1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// Whether there is a 1x1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle block has attention.
    pub mid_block_add_attention: bool,
    /// The side of a tile if the whole picture does not fit into memory, in pixels: `sample_size` within limits.
    pub tile: usize,
}

impl VaeConfig {
    /// Reads the settings; defaults are those of diffusers' `AutoencoderKL`.
    ///
    /// # Errors
    /// If a setting is missing, wrong, or not implemented.
    pub fn read(s: &Settings) -> Result<Self, LoadError> {
        s.only("_class_name", &["AutoencoderKL".into()])?;
        s.only("in_channels", &[3.into()])?;
        s.only("out_channels", &[3.into()])?;
        s.only("shift_factor", &[0.into()])?;
        let sample_size = match s.get::<Value>("sample_size")? {
            Some(Value::Array(sides)) => sides.first().and_then(Value::as_u64),
            side => side.and_then(|side| side.as_u64()),
        };
        let tile = sample_size.unwrap_or(*TILE.end()).clamp(*TILE.start(), *TILE.end()) as usize;
        let block_out_channels = s.sizes("block_out_channels", MAX_SIZE)?;
        for (key, kind) in
            [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")]
        {
            let types: Vec<String> = s.required(key)?;
            if types.len() != block_out_channels.len() {
                return Err(s.wrong(key, "differs in length from block_out_channels"));
            }
            if let Some(other) = types.iter().find(|t| *t != kind) {
                return Err(s.unsupported(key, format!("{other:?}")));
            }
        }
        let groups = s.or("norm_num_groups", 32)?;
        if groups == 0 || block_out_channels.iter().any(|c| !c.is_multiple_of(groups)) {
            return Err(s.wrong(
                "norm_num_groups",
                format!("is {groups}, which does not divide {block_out_channels:?}"),
            ));
        }
        let act: String = s.or("act_fn", "silu".into())?;
        let activation = Activation::named(&act).ok_or_else(|| s.unsupported("act_fn", &act))?;
        let latent_channels = s.size("latent_channels", 4, MAX_SIZE)?;
        let config = Self {
            layers_per_block: s.size("layers_per_block", 1, MAX_LAYERS)?,
            latent_channels,
            norm: NormConfig { groups, eps: EPS, activation },
            normalisation: Normalisation::read(s, latent_channels)?,
            force_upcast: s.or("force_upcast", true)?,
            use_quant_conv: s.or("use_quant_conv", true)?,
            use_post_quant_conv: s.or("use_post_quant_conv", true)?,
            mid_block_add_attention: s.or("mid_block_add_attention", true)?,
            tile,
            block_out_channels,
        };
        s.warn_unread();
        Ok(config)
    }

    /// Pixels per latent, along one side.
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// The tiles of this autoencoder, for pictures that do not fit into memory whole.
    pub fn tiles(&self) -> Tiles {
        Tiles::new(self.tile / self.scale())
    }
}
