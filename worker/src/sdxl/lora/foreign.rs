//! What a file is that is no LoRA for SDXL, by the names and shapes of its tensors.

use super::change::{Change, Slot};
use super::target::{LoraTarget, ModuleName};
use crate::sdxl::weights::Shards;

/// Prefixes before the modules of a transformer or UNet, with underscores instead of dots.
const PREFIXES: [&str; 8] = [
    "base_model_model_",
    "lora_transformer_",
    "transformer_",
    "lora_unet_",
    "model_diffusion_model_",
    "diffusion_model_",
    "lycoris_",
    "unet_",
];

/// Models by the start of a module's name and a part of it, with underscores instead of dots. The first that matches
/// counts.
const MODELS: [(&str, &str, &str); 19] = [
    ("joint_transformer_blocks_", "", "AuraFlow"),
    ("double_stream_blocks_", "", "HiDream"),
    ("single_stream_blocks_", "", "HiDream"),
    ("single_transformer_blocks_", "", "FLUX"),
    ("double_blocks_", "", "FLUX"),
    ("single_blocks_", "", "FLUX"),
    ("joint_blocks_", "", "Stable Diffusion 3"),
    ("transformer_blocks_", "_img_mod", "Qwen-Image"),
    ("transformer_blocks_", "_img_mlp", "Qwen-Image"),
    ("transformer_blocks_", "_add_q_proj", "Stable Diffusion 3 or FLUX"),
    ("transformer_blocks_", "_add_k_proj", "Stable Diffusion 3 or FLUX"),
    ("transformer_blocks_", "_attn_to_", "Stable Diffusion 3 or FLUX"),
    ("transformer_blocks_", "_attn1_", "PixArt or LTX-Video"),
    ("blocks_", "adaln_modulation", "Cosmos"),
    ("blocks_", "_attn", "Wan"),
    ("blocks_", "_ffn_", "Wan"),
    ("noise_refiner_", "", "Lumina or Z-Image"),
    ("layers_", "_attention_", "Lumina or Z-Image"),
    ("lora_prior_unet_", "", "Stable Cascade"),
];

/// Other files, by a part of a name.
const OTHERS: [(&str, &str); 8] = [
    ("model.layers.", "a LoRA for a language model"),
    ("motion_modules", "a motion module of AnimateDiff"),
    ("lora_controlnet", "a control LoRA"),
    ("control_model", "a ControlNet"),
    ("ip_adapter", "an IP-Adapter"),
    ("image_proj", "an IP-Adapter"),
    ("first_stage_model.", "a checkpoint"),
    ("emb_params", "a textual inversion"),
];

/// The width of the prompt in the cross attention of other UNets.
const WIDTHS: [(usize, &str); 3] =
    [(768, "Stable Diffusion 1"), (1024, "Stable Diffusion 2"), (1280, "the refiner of SDXL")];

/// The width of Stable Diffusion 2's text encoder.
const SD2_TEXT: usize = 1024;

/// Blocks of the UNets of Stable Diffusion 1 and 2 that SDXL does not have, with underscores instead of dots.
const OLDER: [&str; 7] = [
    "down_blocks_0_attentions_",
    "down_blocks_3_",
    "up_blocks_2_attentions_",
    "up_blocks_3_",
    "input_blocks_1_1_",
    "input_blocks_10_",
    "output_blocks_9_",
];

/// What the names are of, as text after "looks like".
pub(super) fn by_names(shards: &Shards) -> Option<String> {
    let model = shards.names("").find_map(|name| {
        let flat = name.replace('.', "_");
        let inner =
            PREFIXES.iter().fold(flat.as_str(), |rest, start| rest.strip_prefix(start).unwrap_or(rest));
        let is = |(start, part, _): &&(&str, &str, &str)| {
            (inner.starts_with(start) || flat.starts_with(start)) && flat.contains(part)
        };
        MODELS.iter().find(is).map(|(.., model)| *model)
    });
    if let Some(model) = model {
        return Some(format!("a LoRA for {model}"));
    }
    let other = shards.names("").find_map(|name| OTHERS.iter().find(|(part, _)| name.contains(part)));
    if let Some((_, what)) = other {
        return Some((*what).to_owned());
    }
    let mut all = shards.names("").peekable();
    let inversion = all.peek().is_some() && all.all(|name| matches!(name, "clip_l" | "clip_g"));
    inversion.then(|| "a textual inversion".to_owned())
}

/// Which other model a parsed change is for.
pub(super) fn by_shape(target: LoraTarget, module: &ModuleName, change: &Change) -> Option<&'static str> {
    let name = module.name().replace('.', "_");
    let inputs = change.deltas(Slot::Weight).first()?.inputs();
    if target != LoraTarget::Unet {
        let is_wide = inputs == SD2_TEXT && name.ends_with("_q_proj");
        return is_wide.then_some("Stable Diffusion 2");
    }
    if name.ends_with("attn2_to_k") || name.ends_with("attn2_to_v") {
        return WIDTHS.iter().find(|(width, _)| *width == inputs).map(|(_, model)| *model);
    }
    None
}

/// Whether a module is one of the UNet of Stable Diffusion 1 and 2, and not of SDXL's.
pub(super) fn is_older(target: LoraTarget, module: &ModuleName) -> bool {
    let name = module.name().replace('.', "_");
    target == LoraTarget::Unet && OLDER.iter().any(|start| name.starts_with(start))
}
