//! What the workers of an app can do.

use std::collections::BTreeSet;

use super::lora_path::LoraSource;

/// What the workers of an app can do, for the check of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The model's own width in pixels.
    pub native_width: u32,
    /// The model's own height in pixels.
    pub native_height: u32,
    /// The largest picture, width times height.
    pub max_pixels: u64,
    /// Names of the schedulers that some worker knows.
    pub schedulers: BTreeSet<String>,
    /// From where some worker loads LoRAs besides its folder.
    pub lora_sources: BTreeSet<LoraSource>,
    /// Whether some worker loads ControlNets from the Hugging Face Hub.
    pub controlnet_hub: bool,
}
