//! A ControlNet's `config.json`.

use crate::sdxl::error::LoadError;
use crate::sdxl::ops::Activation;
use crate::sdxl::resnet::NormConfig;
use crate::sdxl::settings::{MAX_LAYERS, MAX_SIZE, Settings};
use crate::sdxl::unet::{Level, UnetConfig};

/// Channels of the picture.
pub(super) const PICTURE_CHANNELS: usize = 3;
/// diffusers' default of `conditioning_embedding_out_channels`.
pub(super) const HINT_CHANNELS: [usize; 4] = [16, 32, 96, 256];
/// The same of `ControlNetUnionModel`.
const UNION_HINT_CHANNELS: [usize; 4] = [48, 96, 192, 384];
/// The classes of ControlNets of several kinds of pictures: diffusers' and that of xinsir's own code.
const UNIONS: [&str; 2] = ["ControlNetUnionModel", "ControlNetModel_Union"];
/// The most kinds of pictures.
pub(super) const MAX_MODES: usize = 64;
/// diffusers' default of `num_trans_head`.
pub(super) const HEADS: usize = 8;

/// What a ControlNet must fit.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The checkpoint's UNet.
    pub unet: &'a UnetConfig,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Pixels per latent, a power of two.
    pub scale: usize,
}

/// The order of the picture's channels that a ControlNet was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// The middle block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Middle {
    /// As that of the UNet.
    Whole,
    /// Its first residual block alone.
    Resnet,
}

/// The settings of a `ControlNetModel`.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlNetConfig {
    /// Its half of a UNet. What only the other half has is that of the checkpoint's UNet.
    pub half: UnetConfig,
    /// Its middle block.
    pub middle: Middle,
    /// Whether the pooled text and the sizes are embedded.
    pub added: bool,
    /// Widths of the picture's encoder. Each but the first halves height and width.
    pub hint_channels: Vec<usize>,
    /// The order of the picture's channels.
    pub order: ChannelOrder,
    /// What one of several kinds of pictures has besides.
    pub union: Option<UnionConfig>,
}

/// The settings of a ControlNet of several kinds of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnionConfig {
    /// How many kinds there are.
    pub modes: usize,
    /// Layers that join a picture with the latents.
    pub layers: usize,
    /// Their attention heads.
    pub heads: usize,
}

impl ControlNetConfig {
    /// Reads the settings; defaults are those of diffusers' `ControlNetModel`, or of `ControlNetUnionModel`.
    ///
    /// # Errors
    /// If a setting is wrong, not implemented, or does not fit the checkpoint.
    pub fn read(settings: &Settings, base: Base<'_>) -> Result<Self, LoadError> {
        let s = settings;
        let union = union(s)?;
        refuse_settings_of_other_models(s)?;
        let other = |key: &str, found: &dyn std::fmt::Debug, own: &dyn std::fmt::Debug| {
            let message = format!(
                "is {found:?}, and the checkpoint's UNet has {own:?}: it is a ControlNet of another model than SDXL"
            );
            s.wrong(key, message)
        };
        let own = base.unet;
        let channels = s.sizes("block_out_channels", MAX_SIZE)?;
        let own_channels: Vec<usize> = own.levels.iter().map(|level| level.channels).collect();
        if channels != own_channels {
            return Err(other("block_out_channels", &channels, &own_channels));
        }
        let n = channels.len();
        let layers = s.per_block("layers_per_block", n, Some(2), 1..=MAX_LAYERS)?;
        let own_layers: Vec<usize> = own.levels.iter().map(|level| level.layers).collect();
        if layers != own_layers {
            return Err(other("layers_per_block", &layers, &own_layers));
        }
        let equal = |key, default, own: usize| match s.size(key, default, MAX_SIZE)? {
            found if found == own => Ok(found),
            found => Err(other(key, &found, &own)),
        };
        let in_channels = equal("in_channels", 4, base.latent_channels)?;
        let cross_attention_dim = equal("cross_attention_dim", 1280, own.cross_attention_dim)?;
        let added = match s.get::<String>("addition_embed_type")?.as_deref() {
            None => false,
            Some("text_time") => {
                let (key, width) = ("addition_time_embed_dim", own.addition_time_embed_dim);
                equal(key, MAX_SIZE, width)?;
                let width = own.projection_class_embeddings_input_dim;
                equal("projection_class_embeddings_input_dim", MAX_SIZE, width)?;
                true
            }
            Some(other) => return Err(s.unsupported("addition_embed_type", format!("{other:?}"))),
        };
        s.ignore(&["addition_time_embed_dim", "projection_class_embeddings_input_dim"]);
        let groups = s.or("norm_num_groups", 32)?;
        if groups == 0 || channels.iter().any(|c| !c.is_multiple_of(groups)) {
            let message = format!("is {groups}, which does not divide {channels:?}");
            return Err(s.wrong("norm_num_groups", message));
        }
        let act: String = s.or("act_fn", "silu".into())?;
        let activation = Activation::named(&act).ok_or_else(|| s.unsupported("act_fn", &act))?;
        let transformers = s.per_block("transformer_layers_per_block", n, Some(1), 0..=MAX_LAYERS)?;
        let half = UnetConfig {
            in_channels,
            conv_in_kernel: 3,
            mid_transformers: transformers[n - 1],
            levels: levels(s, own, &transformers)?,
            cross_attention_dim,
            use_linear_projection: s.or("use_linear_projection", false)?,
            norm: NormConfig { groups, eps: s.or("norm_eps", 1e-5)?, activation },
            time_embed_dim: channels[0] * 4,
            flip_sin_to_cos: s.or("flip_sin_to_cos", true)?,
            freq_shift: s.or("freq_shift", 0.0)?,
            ..own.clone()
        };
        let config = Self {
            half,
            middle: match s.or::<String>("mid_block_type", "UNetMidBlock2DCrossAttn".into())?.as_str() {
                "UNetMidBlock2DCrossAttn" => Middle::Whole,
                "UNetMidBlock2D" => Middle::Resnet,
                other => return Err(s.unsupported("mid_block_type", format!("{other:?}"))),
            },
            added,
            union,
            hint_channels: hint_channels(s, union.is_some(), base.scale)?,
            order: match s.or::<String>("controlnet_conditioning_channel_order", "rgb".into())?.as_str() {
                "rgb" => ChannelOrder::Rgb,
                "bgr" => ChannelOrder::Bgr,
                other => {
                    let key = "controlnet_conditioning_channel_order";
                    return Err(s.unsupported(key, format!("{other:?}")));
                }
            },
        };
        if union.is_some() {
            if config.order != ChannelOrder::Rgb {
                return Err(s.unsupported("controlnet_conditioning_channel_order", "\"bgr\""));
            }
            if union.is_some_and(|union| !channels[0].is_multiple_of(union.heads)) {
                return Err(s.wrong("num_trans_head", format!("does not divide {}", channels[0])));
            }
            for key in ["num_trans_channel", "num_proj_channel"] {
                equal(key, channels[0], channels[0])?;
            }
            equal("addition_time_embed_dim", own.addition_time_embed_dim, own.addition_time_embed_dim)?;
        }
        s.warn_unread();
        Ok(config)
    }
}

/// What one of several kinds of pictures has besides.
fn union(s: &Settings) -> Result<Option<UnionConfig>, LoadError> {
    let class = s.get::<String>("_class_name")?;
    // Some have the class of the others, and these keys.
    let has_modes = s.get::<serde_json::Value>("num_control_type")?.is_some();
    if !has_modes && !class.is_some_and(|class| UNIONS.contains(&&*class)) {
        return Ok(None);
    }
    Ok(Some(UnionConfig {
        modes: s.size("num_control_type", 6, MAX_MODES)?,
        layers: s.size("num_trans_layer", 1, MAX_LAYERS)?,
        heads: s.size("num_trans_head", HEADS, MAX_SIZE)?,
    }))
}

fn levels(s: &Settings, own: &UnetConfig, transformers: &[usize]) -> Result<Vec<Level>, LoadError> {
    let n = own.levels.len();
    let down: Vec<String> = s.required("down_block_types")?;
    if down.len() != n {
        return Err(s.wrong("down_block_types", "differs in length from block_out_channels"));
    }
    let mut heads = s.per_block("attention_head_dim", n, Some(8), 1..=MAX_SIZE)?;
    if s.get::<serde_json::Value>("num_attention_heads")?.is_some() {
        heads = s.per_block("num_attention_heads", n, None, 1..=MAX_SIZE)?;
    }
    let level = |(i, name): (usize, &String)| {
        let attends = match name.as_str() {
            "DownBlock2D" => false,
            "CrossAttnDownBlock2D" => true,
            name => return Err(s.unsupported("down_block_types", format!("{name:?}"))),
        };
        if heads[i] > own.levels[i].channels {
            return Err(s.wrong("attention_head_dim", "does not fit block_out_channels"));
        }
        let down_transformers = attends.then_some(transformers[i]);
        Ok(Level { heads: heads[i], down_transformers, ..own.levels[i].clone() })
    };
    down.iter().enumerate().map(level).collect()
}

/// The widths of the picture's encoder, which must end at the size of the latents.
fn hint_channels(s: &Settings, is_union: bool, scale: usize) -> Result<Vec<usize>, LoadError> {
    let key = "conditioning_embedding_out_channels";
    let widths = match s.get::<serde_json::Value>(key)? {
        None if is_union => UNION_HINT_CHANNELS.to_vec(),
        None => HINT_CHANNELS.to_vec(),
        Some(_) => s.sizes(key, MAX_SIZE)?,
    };
    if 1 << (widths.len() - 1) != scale {
        let message =
            format!("has {} entries, and the checkpoint's latents are {scale} times smaller", widths.len());
        return Err(s.wrong(key, message));
    }
    Ok(widths)
}

/// Refuses settings of other models. They would change the picture, so they are not ignored.
fn refuse_settings_of_other_models(s: &Settings) -> Result<(), LoadError> {
    let classes: Vec<serde_json::Value> =
        ["ControlNetModel"].into_iter().chain(UNIONS).map(Into::into).collect();
    s.only("_class_name", &classes)?;
    s.only("conditioning_channels", &[PICTURE_CHANNELS.into()])?;
    // It makes guess mode the only mode, and its residuals have no place.
    s.only("global_pool_conditions", &[false.into()])?;
    s.only("only_cross_attention", &[false.into(), vec![false; 3].into()])?;
    for key in ["encoder_hid_dim", "encoder_hid_dim_type", "class_embed_type", "num_class_embeds"] {
        s.only(key, &[])?;
    }
    s.only("resnet_time_scale_shift", &["default".into()])?;
    s.only("downsample_padding", &[1.into()])?;
    s.only("mid_block_scale_factor", &[1.into()])?;
    // No effect at inference; `upcast_attention` is always done.
    s.ignore(&["addition_embed_type_num_heads", "upcast_attention"]);
    Ok(())
}
