//! The names of a ControlNet: those of the UNet's first half, and its own.

use super::names::by_table;
use super::unet::unet_modules;
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::weights::{Naming, View};

/// The naming of a ControlNet for a UNet. `hints` is the number of widths of its picture's encoder.
pub fn controlnet(prefix: &str, unet: &UnetConfig, hints: usize) -> Naming {
    let mut modules = unet_modules(unet);
    let mut put = |diffusers: String, sgm: String| {
        modules.insert(diffusers, sgm);
    };
    // SGM counts the activations between the convolutions too.
    let blocks = 2 * hints.saturating_sub(1);
    put("controlnet_cond_embedding.conv_in".to_owned(), "input_hint_block.0".to_owned());
    for i in 0..blocks {
        put(format!("controlnet_cond_embedding.blocks.{i}"), format!("input_hint_block.{}", 2 * (i + 1)));
    }
    put("controlnet_cond_embedding.conv_out".to_owned(), format!("input_hint_block.{}", 2 * (blocks + 1)));
    for i in 0..unet.skips().len() {
        put(format!("controlnet_down_blocks.{i}"), format!("zero_convs.{i}.0"));
    }
    put("controlnet_mid_block".to_owned(), "middle_block_out.0".to_owned());
    by_table(prefix, modules, |_| View::Whole)
}
