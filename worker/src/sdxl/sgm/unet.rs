//! The names of the UNet. SGM has one list of blocks down and one list up.

use super::names::{Modules, by_table};
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::weights::{Naming, Shards, View};

/// The prefix of the UNet in a checkpoint, and those in files of a UNet alone.
const PREFIXES: [&str; 3] = ["model.diffusion_model.", "diffusion_model.", ""];

/// diffusers' and SGM's names of the layers of a residual block.
const RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

/// The first convolution of the UNet.
pub const CONV_IN: &str = "model.diffusion_model.input_blocks.0.0.weight";

/// The naming of the UNet in the files `shards`. A UNet alone may have diffusers' names.
pub fn unet(config: &UnetConfig, shards: &Shards) -> Naming {
    let with = |start: &str| PREFIXES.into_iter().find(|prefix| shards.has_any(&format!("{prefix}{start}")));
    if let Some(prefix) = with("down_blocks.") {
        return by_table(prefix, Modules::new(), |_| View::Whole);
    }
    let prefix = with("input_blocks.").unwrap_or(PREFIXES[0]);
    by_table(prefix, unet_modules(config), |_| View::Whole)
}

/// The table of the UNet's modules.
pub fn unet_modules(config: &UnetConfig) -> Modules {
    let mut modules = Modules::new();
    let mut put = |diffusers: String, sgm: String| {
        modules.insert(diffusers, sgm);
    };
    for (diffusers, sgm) in [
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("mid_block.attentions.0", "middle_block.1"),
    ] {
        put(diffusers.to_owned(), sgm.to_owned());
    }
    let resnet = |put: &mut dyn FnMut(String, String), diffusers: String, sgm: String| {
        for (inner, sgm_inner) in RESNET {
            put(format!("{diffusers}.{inner}"), format!("{sgm}.{sgm_inner}"));
        }
    };
    resnet(&mut put, "mid_block.resnets.0".to_owned(), "middle_block.0".to_owned());
    resnet(&mut put, "mid_block.resnets.1".to_owned(), "middle_block.2".to_owned());

    // Entry 0 of the list is `conv_in`.
    let mut number = 1;
    for (i, level) in config.levels.iter().enumerate() {
        for j in 0..level.layers {
            resnet(&mut put, format!("down_blocks.{i}.resnets.{j}"), format!("input_blocks.{number}.0"));
            put(format!("down_blocks.{i}.attentions.{j}"), format!("input_blocks.{number}.1"));
            number += 1;
        }
        if i + 1 < config.levels.len() {
            put(format!("down_blocks.{i}.downsamplers.0.conv"), format!("input_blocks.{number}.0.op"));
            number += 1;
        }
    }
    let mut number = 0;
    for (i, level) in config.levels.iter().rev().enumerate() {
        for j in 0..=level.layers {
            resnet(&mut put, format!("up_blocks.{i}.resnets.{j}"), format!("output_blocks.{number}.0"));
            put(format!("up_blocks.{i}.attentions.{j}"), format!("output_blocks.{number}.1"));
            // The upsampler is the last module of the level's last entry.
            if j == level.layers && i + 1 < config.levels.len() {
                let place = if level.up_transformers.is_some() { 2 } else { 1 };
                let sgm = format!("output_blocks.{number}.{place}.conv");
                put(format!("up_blocks.{i}.upsamplers.0.conv"), sgm);
            }
            number += 1;
        }
    }
    modules
}
