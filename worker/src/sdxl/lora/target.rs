//! The components that a LoRA changes, and the names of their modules.

use std::fmt;

use crate::sdxl::error::Shown;

/// The component that a module belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoraTarget {
    /// The UNet.
    Unet,
    /// A text encoder: 0 is the first, 1 the second.
    TextEncoder(usize),
    /// A text encoder that the file does not name: the one whose weights it fits.
    AnyTextEncoder,
}

impl LoraTarget {
    /// The targets that peft's settings in a file's metadata name.
    pub(super) const NAMED: [Self; 3] = [Self::Unet, Self::TextEncoder(0), Self::TextEncoder(1)];
}

impl fmt::Display for LoraTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unet => "unet",
            Self::TextEncoder(0) => "text_encoder",
            Self::TextEncoder(_) => "text_encoder_2",
            Self::AnyTextEncoder => "text encoder",
        })
    }
}

/// The name of a module in a LoRA file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModuleName {
    /// diffusers' or SGM's name, such as `mid_block.attentions.0.proj_in`.
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
