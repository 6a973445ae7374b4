//! The UNet's `config.json`.

use serde_json::Value;

use crate::sdxl::error::LoadError;
use crate::sdxl::ops::Activation;
use crate::sdxl::resnet::NormConfig;
use crate::sdxl::settings::{MAX_LAYERS, MAX_SIZE, Settings};

/// The largest height and width in `sample_size`, in latents.
const MAX_SIDE: u64 = 1 << 16;
/// The largest kernel of the first and the last convolution.
const MAX_KERNEL: usize = 255;

/// A down block and the up block of the same size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Channels at this level.
    pub channels: usize,
    /// Residual blocks of the down block. The up block has one more.
    pub layers: usize,
    /// Attention heads. diffusers calls this `attention_head_dim` for historical reasons.
    pub heads: usize,
    /// Transformer blocks per attention of the down block; `None` without attention.
    pub down_transformers: Option<usize>,
    /// Transformer blocks per attention of the up block; `None` without attention.
    pub up_transformers: Option<usize>,
}

/// The settings of a `UNet2DConditionModel`.
#[derive(Debug, Clone, PartialEq)]
pub struct UnetConfig {
    /// Channels of the input latents.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Kernel size of the first convolution.
    pub conv_in_kernel: usize,
    /// Kernel size of the last convolution.
    pub conv_out_kernel: usize,
    /// Height and width of the training latents.
    pub sample_size: (usize, usize),
    /// The levels, from the largest to the smallest picture.
    pub levels: Vec<Level>,
    /// Transformer blocks of the middle block.
    pub mid_transformers: usize,
    /// Width of the text embeddings.
    pub cross_attention_dim: usize,
    /// Whether the projections of the transformers are linear layers or 1x1 convolutions.
    pub use_linear_projection: bool,
    /// Norms of the residual blocks.
    pub norm: NormConfig,
    /// Width of the time embedding.
    pub time_embed_dim: usize,
    /// Width of the embedding of one of the six time ids.
    pub addition_time_embed_dim: usize,
    /// Width of the pooled text embedding and the embedded time ids together.
    pub projection_class_embeddings_input_dim: usize,
    /// Whether cosines are before sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies.
    pub freq_shift: f64,
}

impl UnetConfig {
    /// Reads the settings; defaults are those of diffusers' `UNet2DConditionModel`.
    ///
    /// # Errors
    /// If a setting is missing, wrong, or not implemented.
    pub fn read(settings: &Settings) -> Result<Self, LoadError> {
        let s = settings;
        refuse_settings_of_other_models(s)?;
        let channels = s.sizes("block_out_channels", MAX_SIZE)?;
        let n = channels.len();
        let down: Vec<String> = s.required("down_block_types")?;
        let up: Vec<String> = s.required("up_block_types")?;
        if down.len() != n || up.len() != n {
            return Err(
                s.wrong("down_block_types", "differs in length from block_out_channels or up_block_types")
            );
        }
        let layers = s.per_block("layers_per_block", n, Some(2), 1..=MAX_LAYERS)?;
        let mut heads = s.per_block("attention_head_dim", n, Some(8), 1..=MAX_SIZE)?;
        if s.get::<Value>("num_attention_heads")?.is_some() {
            heads = s.per_block("num_attention_heads", n, None, 1..=MAX_SIZE)?;
        }
        let transformers = s.per_block("transformer_layers_per_block", n, Some(1), 0..=MAX_LAYERS)?;
        let up_transformers = match s.get::<Value>("reverse_transformer_layers_per_block")? {
            Some(_) => s.per_block("reverse_transformer_layers_per_block", n, None, 0..=MAX_LAYERS)?,
            None => transformers.iter().rev().copied().collect(),
        };
        let mut levels = Vec::with_capacity(n);
        for i in 0..n {
            let attends = |key: &'static str, name: &str, plain: &str, cross: &str| match name {
                name if name == plain => Ok(false),
                name if name == cross => Ok(true),
                name => Err(s.unsupported(key, format!("{name:?}"))),
            };
            // Up blocks are in the order from the smallest to the largest picture.
            let j = n - 1 - i;
            let down_attends = attends("down_block_types", &down[i], "DownBlock2D", "CrossAttnDownBlock2D")?;
            let up_attends = attends("up_block_types", &up[j], "UpBlock2D", "CrossAttnUpBlock2D")?;
            if heads[i] > channels[i] {
                return Err(s.wrong("attention_head_dim", "does not fit block_out_channels"));
            }
            levels.push(Level {
                channels: channels[i],
                layers: layers[i],
                heads: heads[i],
                down_transformers: down_attends.then_some(transformers[i]),
                up_transformers: up_attends.then_some(up_transformers[j]),
            });
        }
        let cross = s.per_block("cross_attention_dim", n, Some(1280), 1..=MAX_SIZE)?;
        if cross.iter().any(|d| *d != cross[0]) {
            return Err(s.unsupported("cross_attention_dim", format!("{cross:?}")));
        }
        let groups = s.or("norm_num_groups", 32)?;
        if groups == 0 || channels.iter().any(|c| !c.is_multiple_of(groups)) {
            return Err(
                s.wrong("norm_num_groups", format!("is {groups}, which does not divide {channels:?}"))
            );
        }
        let act: String = s.or("act_fn", "silu".into())?;
        let activation = Activation::named(&act).ok_or_else(|| s.unsupported("act_fn", &act))?;
        let sample_size = match s.required::<Value>("sample_size")? {
            Value::Array(hw) if hw.len() == 2 => (hw[0].as_u64(), hw[1].as_u64()),
            side => (side.as_u64(), side.as_u64()),
        };
        let side = |side: Option<u64>| side.filter(|side| (1..=MAX_SIDE).contains(side));
        let (Some(height), Some(width)) = (side(sample_size.0), side(sample_size.1)) else {
            let message = format!("is neither a number from 1 to {MAX_SIDE} nor two of them");
            return Err(s.wrong("sample_size", message));
        };
        let kernel = |key| match s.size(key, 3, MAX_KERNEL)? {
            even if even % 2 == 0 => Err(s.unsupported(key, even)),
            odd => Ok(odd),
        };
        let required = |key| {
            s.required::<usize>(key)?;
            s.size(key, 0, MAX_SIZE)
        };
        let config = Self {
            in_channels: s.size("in_channels", 4, MAX_SIZE)?,
            out_channels: s.size("out_channels", 4, MAX_SIZE)?,
            conv_in_kernel: kernel("conv_in_kernel")?,
            conv_out_kernel: kernel("conv_out_kernel")?,
            sample_size: (height as usize, width as usize),
            mid_transformers: transformers[n - 1],
            levels,
            cross_attention_dim: cross[0],
            use_linear_projection: s.or("use_linear_projection", false)?,
            norm: NormConfig { groups, eps: s.or("norm_eps", 1e-5)?, activation },
            time_embed_dim: s.size("time_embedding_dim", channels[0] * 4, 4 * MAX_SIZE)?,
            addition_time_embed_dim: required("addition_time_embed_dim")?,
            projection_class_embeddings_input_dim: required("projection_class_embeddings_input_dim")?,
            flip_sin_to_cos: s.or("flip_sin_to_cos", true)?,
            freq_shift: s.or("freq_shift", 0.0)?,
        };
        s.warn_unread();
        Ok(config)
    }

    /// Channels of the skip tensors, in order.
    pub fn skips(&self) -> Vec<usize> {
        let mut skips = vec![self.levels[0].channels];
        for (i, level) in self.levels.iter().enumerate() {
            let downsampled = usize::from(i + 1 < self.levels.len());
            skips.extend(std::iter::repeat_n(level.channels, level.layers + downsampled));
        }
        skips
    }
}

/// Refuses settings of other models. They would change the picture, so they are not ignored.
fn refuse_settings_of_other_models(s: &Settings) -> Result<(), LoadError> {
    s.only("_class_name", &["UNet2DConditionModel".into()])?;
    s.only("addition_embed_type", &["text_time".into()])?;
    s.required::<String>("addition_embed_type")?;
    s.only("mid_block_type", &["UNetMidBlock2DCrossAttn".into()])?;
    for key in [
        "center_input_sample",
        "dual_cross_attention",
        "resnet_skip_time_act",
        "class_embeddings_concat",
        "mid_block_only_cross_attention",
    ] {
        s.only(key, &[false.into()])?;
    }
    s.only("only_cross_attention", &[false.into(), vec![false; 3].into()])?;
    for key in [
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "class_embed_type",
        "num_class_embeds",
        "time_embedding_act_fn",
        "timestep_post_act",
        // The guidance embedding of distilled UNets, such as LCM-SDXL.
        "time_cond_proj_dim",
        "cross_attention_norm",
    ] {
        s.only(key, &[])?;
    }
    s.only("resnet_time_scale_shift", &["default".into()])?;
    s.only("time_embedding_type", &["positional".into()])?;
    s.only("attention_type", &["default".into()])?;
    s.only("downsample_padding", &[1.into()])?;
    s.only("mid_block_scale_factor", &[1.into()])?;
    s.only("resnet_out_scale_factor", &[1.into()])?;
    // No effect at inference; `upcast_attention` is always done.
    s.ignore(&["dropout", "addition_embed_type_num_heads", "upcast_attention"]);
    Ok(())
}
