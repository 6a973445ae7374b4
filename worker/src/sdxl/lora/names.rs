//! The tensor names of LoRA files.

use super::part::Part;
use super::target::{LoraTarget, ModuleName};

/// A parsed tensor name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) component: LoraTarget,
    pub(super) module: ModuleName,
    pub(super) part: Part,
}

const UNET: LoraTarget = LoraTarget::Unet;
const FIRST: LoraTarget = LoraTarget::TextEncoder(0);
const SECOND: LoraTarget = LoraTarget::TextEncoder(1);
const ANY: LoraTarget = LoraTarget::AnyTextEncoder;

/// Prefixes of kohya's and LyCORIS' names. `lora_te_` is the single text encoder of older models: the first of SDXL.
const UNDERSCORED: [(&str, LoraTarget); 5] = [
    ("lora_unet_", UNET),
    ("lora_te1_", FIRST),
    ("lora_te2_", SECOND),
    ("lora_te_", FIRST),
    ("lycoris_", UNET),
];

/// Prefixes of dotted names: of diffusers and peft, of ComfyUI (`diffusion_model.`, `text_encoders.`), of OneTrainer
/// (`lora_unet.`, `lora_te1.`, and `clip_l.` in the form of OMI), of checkpoints in one file.
const DOTTED: [(&str, LoraTarget); 18] = [
    ("unet.", UNET),
    ("lora_unet.", UNET),
    ("diffusion_model.", UNET),
    ("model.diffusion_model.", UNET),
    ("text_encoder.", FIRST),
    ("text_encoder_1.", FIRST),
    ("text_encoder_2.", SECOND),
    ("te1.", FIRST),
    ("te2.", SECOND),
    ("lora_te1.", FIRST),
    ("lora_te2.", SECOND),
    ("lora_te.", FIRST),
    ("clip_l.", FIRST),
    ("clip_g.", SECOND),
    ("text_encoders.clip_l.", FIRST),
    ("text_encoders.clip_g.", SECOND),
    ("conditioner.embedders.0.", FIRST),
    ("cond_stage_model.", FIRST),
];

/// Starts of names without a component.
const BARE: [(&str, LoraTarget); 16] = [
    ("down_blocks.", UNET),
    ("mid_block.", UNET),
    ("up_blocks.", UNET),
    ("input_blocks.", UNET),
    ("middle_block.", UNET),
    ("output_blocks.", UNET),
    ("time_embedding.", UNET),
    ("add_embedding.", UNET),
    ("time_embed.", UNET),
    ("label_emb.", UNET),
    ("conv_", UNET),
    ("out.0", UNET),
    ("out.2", UNET),
    ("text_model.", ANY),
    ("encoder.layers.", ANY),
    ("text_projection", ANY),
];

/// What `PeftModel.save_pretrained` writes before every name.
pub(super) const PEFT_MODEL: &str = "base_model.model.";

/// The level of old diffusers names that has the attention's matrices.
const PROCESSOR: &str = ".processor.";

impl Key {
    /// `None` if the name is not one of a supported form.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (place, part) = Part::split(name)?;
        let (component, module) = module(place)?;
        Some(Self { component, module, part })
    }
}

fn module(place: &str) -> Option<(LoraTarget, ModuleName)> {
    let (mut component, mut rest) = (None, place);
    loop {
        let inner = rest.strip_prefix(PEFT_MODEL);
        let named = || DOTTED.iter().find_map(|(start, target)| Some((*target, rest.strip_prefix(start)?)));
        if let Some(inner) = inner {
            rest = inner;
        } else if component.is_none()
            && let Some((target, inner)) = named()
        {
            (component, rest) = (Some(target), inner);
        } else {
            break;
        }
    }
    let component = match component {
        Some(component) => component,
        None => {
            let kohya = UNDERSCORED.iter().find_map(|(start, target)| {
                Some((*target, ModuleName::Underscored(place.strip_prefix(start)?.to_owned())))
            });
            if kohya.is_some() {
                return kohya;
            }
            BARE.iter().find(|(start, _)| rest.starts_with(start))?.1
        }
    };
    Some((component, ModuleName::Dotted(modern(component, rest))))
}

/// The module's name without what old diffusers versions and ComfyUI add.
fn modern(component: LoraTarget, name: &str) -> String {
    if component == LoraTarget::Unet {
        let name = name.replacen(PROCESSOR, ".", 1);
        return if name.ends_with(".to_out") { format!("{name}.0") } else { name };
    }
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    // Text encoders with the attention's names of the UNet.
    let old = [(".to_q", ".q_proj"), (".to_k", ".k_proj"), (".to_v", ".v_proj"), (".to_out", ".out_proj")];
    let renamed = old.iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)));
    renamed.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<(LoraTarget, String, Part)> {
        Key::parse(name).map(|key| (key.component, key.module.to_string(), key.part))
    }

    #[test]
    fn names_of_every_program_are_parsed() {
        let query = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
        for start in [
            "unet.",
            "",
            "lora_unet.",
            "diffusion_model.",
            "base_model.model.",
            "unet.base_model.model.",
            "base_model.model.unet.",
        ] {
            for (end, part) in [
                (".lora_A.weight", Part::Down),
                (".lora_B.default.weight", Part::Up),
                (".lora_A.default_0.weight", Part::Down),
                (".lora_up", Part::Up),
                (".lora.down.weight", Part::Down),
                (".lora_linear_layer.up.weight", Part::Up),
                (".hada_w1_a", Part::HadaW1A),
                (".lokr_w2_b", Part::LokrW2B),
                (".lokr_w2", Part::LokrW2),
                (".lora_magnitude_vector.default.weight", Part::Magnitude),
                (".lora_magnitude_vector", Part::Magnitude),
                (".dora_scale", Part::DoraScale),
                (".lora_B.bias", Part::UpBias),
                (".diff_b", Part::DiffBias),
                (".alpha", Part::Alpha),
            ] {
                let name = format!("{start}{query}{end}");
                assert_eq!(parsed(&name), Some((UNET, query.to_owned(), part)), "{name}");
            }
        }
        let old = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_";
        let attention = query.trim_end_matches("to_q");
        for (start, name, end, part) in [
            ("unet.", "q", "_lora.down.weight", Part::Down),
            ("", "out", "_lora.up.weight", Part::Up),
            ("unet.", "out", "_lora.alpha", Part::Alpha),
        ] {
            let new = if name == "out" { "out.0" } else { name };
            let expected = (UNET, format!("{attention}to_{new}"), part);
            assert_eq!(parsed(&format!("{start}{old}{name}{end}")), Some(expected));
        }
    }

    #[test]
    fn text_encoders_are_told_apart() {
        let layer = "text_model.encoder.layers.0.self_attn.q_proj";
        for (start, target) in [
            ("text_encoder.", FIRST),
            ("text_encoder_2.", SECOND),
            ("te1.", FIRST),
            ("lora_te2.", SECOND),
            ("clip_g.", SECOND),
            ("text_encoders.clip_l.transformer.", FIRST),
            ("conditioner.embedders.0.transformer.", FIRST),
            ("text_encoder_2.base_model.model.", SECOND),
            ("base_model.model.", ANY),
            ("", ANY),
        ] {
            let name = format!("{start}{layer}.lora_A.weight");
            assert_eq!(parsed(&name), Some((target, layer.to_owned(), Part::Down)), "{name}");
        }
        let old = "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight";
        let expected = "text_model.encoder.layers.0.self_attn.out_proj".to_owned();
        assert_eq!(parsed(old), Some((FIRST, expected, Part::Up)));
        assert_eq!(
            parsed("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"),
            Some((SECOND, "text_model_encoder_layers_0_mlp_fc1".into(), Part::Up))
        );
        assert_eq!(
            parsed("lycoris_mid_block_attentions_0_proj_in.lokr_w1"),
            Some((UNET, "mid_block_attentions_0_proj_in".into(), Part::LokrW1))
        );
    }

    #[test]
    fn other_names_have_no_meaning() {
        for other in
            ["lora_unet_x.ia3_l", "unet.x.weight", "x.alpha", "lora_unet_x", "alpha", "", ".alpha", "unet."]
        {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }
}
