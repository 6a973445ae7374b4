//! The names of the autoencoder.

use super::names::{Modules, by_table};
use crate::sdxl::vae::VaeConfig;
use crate::sdxl::weights::{Naming, View};

/// The naming of the autoencoder. `prefix` is [`super::VAE_PREFIX`] in a checkpoint.
pub fn vae(prefix: &str, config: &VaeConfig) -> Naming {
    let mut modules = Modules::new();
    let mut put = |diffusers: String, sgm: String| {
        modules.insert(diffusers, sgm);
    };
    let levels = config.block_out_channels.len();
    for half in ["encoder", "decoder"] {
        put(format!("{half}.conv_norm_out"), format!("{half}.norm_out"));
        for (i, block) in ["block_1", "block_2"].iter().enumerate() {
            put(format!("{half}.mid_block.resnets.{i}"), format!("{half}.mid.{block}"));
        }
        for (diffusers, sgm) in
            [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")]
        {
            put(format!("{half}.mid_block.attentions.0.{diffusers}"), format!("{half}.mid.attn_1.{sgm}"));
        }
    }
    for i in 0..levels {
        let (down, up) = (format!("encoder.down.{i}"), format!("decoder.up.{}", levels - 1 - i));
        for j in 0..config.layers_per_block {
            put(format!("encoder.down_blocks.{i}.resnets.{j}"), format!("{down}.block.{j}"));
            put(
                format!("encoder.down_blocks.{i}.resnets.{j}.conv_shortcut"),
                format!("{down}.block.{j}.nin_shortcut"),
            );
        }
        put(format!("encoder.down_blocks.{i}.downsamplers.0.conv"), format!("{down}.downsample.conv"));
        // SGM numbers the up blocks from the largest picture, diffusers from the smallest.
        for j in 0..=config.layers_per_block {
            put(format!("decoder.up_blocks.{i}.resnets.{j}"), format!("{up}.block.{j}"));
            put(
                format!("decoder.up_blocks.{i}.resnets.{j}.conv_shortcut"),
                format!("{up}.block.{j}.nin_shortcut"),
            );
        }
        put(format!("decoder.up_blocks.{i}.upsamplers.0.conv"), format!("{up}.upsample.conv"));
    }
    let projection = |name: &str| name.contains(".attentions.") && name.ends_with(".weight");
    by_table(prefix, modules, move |name| match projection(name) && !name.contains("group_norm") {
        // SGM has 1x1 convolutions.
        true => View::Squeezed,
        false => View::Whole,
    })
}
