//! The configuration of a ControlNet in a single file, by the shapes of its tensors. What shapes do not show, such as the
//! number of heads, is that of the checkpoint's UNet.

use super::config::{
    Base, ChannelOrder, ControlNetConfig, HEADS, HINT_CHANNELS, MAX_MODES, Middle, UnionConfig,
};
use crate::sdxl::error::LoadError;
use crate::sdxl::settings::MAX_LAYERS;
use crate::sdxl::sgm;
use crate::sdxl::unet::{Level, UnetConfig};
use crate::sdxl::weights::{Naming, Shards};

/// The prefix of SGM's names in files of their own.
const SGM_PREFIX: &str = "control_model.";
/// Below these names is the picture's encoder, in diffusers' and in SGM's naming.
const HINTS: [&str; 2] = ["controlnet_cond_embedding.", "input_hint_block."];

/// The naming and the configuration.
pub(super) fn of(shards: &Shards, base: Base<'_>) -> Result<(Naming, ControlNetConfig), LoadError> {
    let wrong = |message: String| LoadError::Malformed { path: shards.path().into(), message };
    let naming = match HINTS {
        [diffusers, _] if shards.has_any(diffusers) => Naming::diffusers(),
        [_, sgm] if shards.has_any(sgm) => sgm::controlnet("", base.unet, HINT_CHANNELS.len()),
        [_, sgm] if shards.has_any(&format!("{SGM_PREFIX}{sgm}")) => {
            sgm::controlnet(SGM_PREFIX, base.unet, HINT_CHANNELS.len())
        }
        _ => {
            let message =
                "is not a ControlNet: it has no tensors controlnet_cond_embedding or input_hint_block";
            return Err(wrong(message.to_owned()));
        }
    };
    let shape = |name: &str| shards.shape(&naming.stored(name).name);
    let own = base.unet;
    let first = own.levels[0].channels;
    let inputs = shape("conv_in.weight").and_then(|shape| shape.get(1)).copied();
    if inputs != Some(base.latent_channels) {
        let of = inputs
            .map_or("no first convolution".to_owned(), |n| format!("a first convolution of {n} channels"));
        return Err(wrong(format!("has {of}, and the checkpoint's latents have {}", base.latent_channels)));
    }
    if let Some(width) = text_width(&shape, own).filter(|width| *width != own.cross_attention_dim) {
        return Err(wrong(format!(
            "is a ControlNet of another model than SDXL: it reads text embeddings of width {width}, and the checkpoint's \
             are {} wide",
            own.cross_attention_dim
        )));
    }
    let added = shape("add_embedding.linear_1.weight").is_some();
    let blocks = |place: &str| -> Option<usize> {
        let block = |i: usize| shape(&format!("{place}.transformer_blocks.{i}.attn1.to_q.weight"));
        Some((0..=MAX_LAYERS).take_while(|i| block(*i).is_some()).count()).filter(|blocks| *blocks > 0)
    };
    let levels: Vec<Level> = own
        .levels
        .iter()
        .enumerate()
        .map(|(i, level)| Level {
            down_transformers: blocks(&format!("down_blocks.{i}.attentions.0")),
            ..level.clone()
        })
        .collect();
    let mid = blocks("mid_block.attentions.0");
    let attention = levels.iter().position(|level| level.down_transformers.is_some());
    let projection = match attention {
        Some(level) => shape(&format!("down_blocks.{level}.attentions.0.proj_in.weight")),
        None => shape("mid_block.attentions.0.proj_in.weight"),
    };
    let widths = hint_widths(&shape, first);
    let Some(hint_channels) = widths.filter(|widths| 1 << (widths.len() - 1) == base.scale) else {
        return Err(wrong(format!(
            "has an encoder of its picture that does not end at latents {} times smaller than the picture",
            base.scale
        )));
    };
    let union = match shape("task_embedding") {
        None => None,
        Some([modes, width])
            if *width == first && first.is_multiple_of(HEADS) && (1..=MAX_MODES).contains(modes) =>
        {
            let layer = |i: usize| shape(&format!("transformer_layes.{i}.ln_1.weight"));
            let layers = (0..MAX_LAYERS).take_while(|i| layer(*i).is_some()).count();
            Some(UnionConfig { modes: *modes, layers, heads: HEADS })
        }
        Some(other) => {
            return Err(wrong(format!(
                "has a task_embedding of shape {other:?}, and should have [n, {first}], with {HEADS} heads"
            )));
        }
    };
    let half = UnetConfig {
        in_channels: base.latent_channels,
        conv_in_kernel: 3,
        mid_transformers: mid.unwrap_or(own.mid_transformers),
        levels,
        use_linear_projection: projection.map_or(own.use_linear_projection, |shape| shape.len() == 2),
        time_embed_dim: first * 4,
        ..own.clone()
    };
    let middle = if mid.is_some() { Middle::Whole } else { Middle::Resnet };
    Ok((naming, ControlNetConfig { half, middle, added, hint_channels, order: ChannelOrder::Rgb, union }))
}

/// The width of the text embeddings that it reads; `None` without attention.
fn text_width<'a>(shape: &impl Fn(&str) -> Option<&'a [usize]>, own: &UnetConfig) -> Option<usize> {
    let levels = (0..own.levels.len()).map(|i| format!("down_blocks.{i}"));
    let mut places = levels.chain(["mid_block".to_owned()]);
    places.find_map(|place| {
        let name = format!("{place}.attentions.0.transformer_blocks.0.attn2.to_k.weight");
        shape(&name)?.get(1).copied()
    })
}

/// The widths of the picture's encoder, if its convolutions follow each other.
fn hint_widths<'a>(shape: &impl Fn(&str) -> Option<&'a [usize]>, channels: usize) -> Option<Vec<usize>> {
    let outputs = |name: &str| shape(&format!("controlnet_cond_embedding.{name}.weight"))?.first().copied();
    let mut widths = vec![outputs("conv_in")?];
    for i in 0..MAX_LAYERS {
        let Some(width) = outputs(&format!("blocks.{}", 2 * i + 1)) else { break };
        widths.push(width);
    }
    (outputs("conv_out")? == channels).then_some(widths)
}
