//! The tensor names of LoRA files.

use std::fmt;

use crate::sdxl::error::Shown;

/// The component that a module belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoraTarget {
    /// The UNet.
    Unet,
    /// A text encoder: 0 is the first, 1 the second.
    TextEncoder(usize),
}

impl fmt::Display for LoraTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unet => "unet",
            Self::TextEncoder(0) => "text_encoder",
            Self::TextEncoder(_) => "text_encoder_2",
        })
    }
}

/// The name of a module in a LoRA file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModuleName {
    /// diffusers' name, such as `mid_block.attentions.0.proj_in`.
    Dotted(String),
    /// The name with underscores instead of dots, as in kohya's scripts. For the UNet it is diffusers' or SGM's name.
    Underscored(String),
}

impl ModuleName {
    /// The name as it is in the file.
    pub(super) fn name(&self) -> &str {
        let (Self::Dotted(name) | Self::Underscored(name)) = self;
        name
    }
}

/// The name for messages.
impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.name()).fmt(f)
    }
}

/// The kind of a module's tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Down,
    Up,
    Alpha,
}

/// A parsed tensor name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) component: LoraTarget,
    pub(super) module: ModuleName,
    pub(super) part: Part,
}

/// Prefixes of kohya's names. `lora_te_` is the single text encoder of older models: the first one of SDXL.
const UNDERSCORED: [(&str, LoraTarget); 4] = [
    ("lora_unet_", LoraTarget::Unet),
    ("lora_te1_", LoraTarget::TextEncoder(0)),
    ("lora_te2_", LoraTarget::TextEncoder(1)),
    ("lora_te_", LoraTarget::TextEncoder(0)),
];

/// Prefixes of diffusers' names.
const DOTTED: [(&str, LoraTarget); 3] = [
    ("unet.", LoraTarget::Unet),
    ("text_encoder.", LoraTarget::TextEncoder(0)),
    ("text_encoder_2.", LoraTarget::TextEncoder(1)),
];

const PARTS: [(&str, Part); 7] = [
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".alpha", Part::Alpha),
];

impl Key {
    /// `None` if the name is not one of a LoRA. LoHa, LoKr and DoRA have other names.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (place, part) =
            PARTS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))?;
        let dotted = DOTTED.iter().find_map(|(start, component)| {
            Some((*component, ModuleName::Dotted(place.strip_prefix(start)?.to_owned())))
        });
        let (component, module) = dotted.or_else(|| {
            UNDERSCORED.iter().find_map(|(start, component)| {
                Some((*component, ModuleName::Underscored(place.strip_prefix(start)?.to_owned())))
            })
        })?;
        Some(Self { component, module, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_are_parsed() {
        let module = |name| Key::parse(name).map(|key| (key.component, key.module.to_string(), key.part));
        let unet = |name: &str, part| Some((LoraTarget::Unet, name.to_owned(), part));
        assert_eq!(
            module("unet.mid_block.attentions.0.proj_in.lora_A.weight"),
            unet("mid_block.attentions.0.proj_in", Part::Down)
        );
        assert_eq!(
            module("lora_unet_middle_block_1_proj_in.alpha"),
            unet("middle_block_1_proj_in", Part::Alpha)
        );
        assert_eq!(
            module("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"),
            Some((LoraTarget::TextEncoder(1), "text_model_encoder_layers_0_mlp_fc1".into(), Part::Up))
        );
        for other in ["lora_unet_x.hada_w1_a", "lora_unet_x.dora_scale", "unet.x.weight", "x.alpha"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }
}
