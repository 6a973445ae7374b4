//! What a single file contains, by its tensors' names, if it is not an SDXL checkpoint.

use super::shard::Shards;

/// The UNet of a checkpoint in one file.
const UNET: &str = "model.diffusion_model.";
/// The text encoders of an SDXL checkpoint in one file.
const ENCODERS: [&str; 2] = ["conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."];
/// The text encoder of a refiner in one file.
const REFINER_ENCODER: &str = "conditioner.embedders.0.model.";
/// The autoencoder of a checkpoint in one file.
const VAE: &str = "first_stage_model.";

/// Parts of names that only LoRAs and their relatives have.
const LORA: [&str; 9] = [
    "lora_unet_",
    "lora_te",
    ".lora_up.",
    ".lora_down.",
    ".lora_A.",
    ".lora_B.",
    ".lora.up.",
    ".hada_w1",
    ".lokr_w",
];

/// A UNet alone, where the text encoders are not named beside it.
const UNET_ALONE: &str = "looks like a UNet without text encoders: name them with --text-encoders (and an autoencoder \
                          with --vae), or name a whole checkpoint";

/// Files without a whole SDXL checkpoint, by the starts of names: the first kind that matches counts.
const KINDS: [(&[&str], &str); 11] = [
    (
        &["cond_stage_model.transformer."],
        "looks like a checkpoint of Stable Diffusion 1: only SDXL is supported, use a checkpoint of SDXL",
    ),
    (
        &["cond_stage_model."],
        "looks like a checkpoint of Stable Diffusion 2: only SDXL is supported, use a checkpoint of SDXL",
    ),
    (
        &["control_model.", "controlnet_", "input_hint_block."],
        "looks like a ControlNet and not like a checkpoint: put it into the folder of --controlnet-dir and name it in a \
         request",
    ),
    (
        &["double_blocks.", "joint_blocks.", "transformer_blocks.", "single_blocks."],
        "looks like the transformer of another kind of model, such as FLUX: only SDXL is supported",
    ),
    (&["input_blocks.", "down_blocks.", "up_blocks."], UNET_ALONE),
    (
        &["decoder.layers.", "encoder.layers.0.", "3.conv.0."],
        "looks like a TAESD, the decoder of previews: name it with --taesd, and the checkpoint with --model",
    ),
    (
        &["vae.", "text_encoders.", "text_encoder", "unet."],
        "looks like a checkpoint in a layout that is not supported: use a file with SGM's names or a folder in the \
         diffusers layout",
    ),
    (
        &[VAE, "decoder.", "encoder.down", "quant_conv.", "post_quant_conv."],
        "looks like an autoencoder (VAE) and not like a checkpoint: name it with --vae, and the checkpoint with --model",
    ),
    (
        &["text_model.", "transformer.resblocks.", "conditioner.", "encoder.block.", "text_projection"],
        "looks like a text encoder and not like a checkpoint: name the whole checkpoint, or a UNet alone and both \
         text encoders with --text-encoders",
    ),
    (
        &["clip_g", "clip_l", "emb_params", "string_to_param"],
        "looks like an embedding (textual inversion) and not like a checkpoint: put it into the folder of --embedding-dir \
         and name it in a request",
    ),
    (
        &["image_proj", "ip_adapter", "adapter."],
        "looks like an adapter and not like a checkpoint: only LoRAs are supported",
    ),
];

/// A file of none of [`KINDS`].
const OTHER: &str =
    "does not look like a checkpoint of SDXL: it has none of the usual names, such as model.diffusion_model";

impl Shards {
    /// Why the files cannot be a checkpoint, as text after the file's name. `None` if the UNet is there, and what else
    /// the checkpoint needs: text encoders if `own_text`, and an autoencoder if `own_vae`.
    pub fn not_a_checkpoint(&self, own_text: bool, own_vae: bool) -> Option<&'static str> {
        let lacks_vae = (own_vae && !self.has_any(VAE))
            .then_some("has no autoencoder (no tensors first_stage_model): name one with --vae");
        if self.has_any(UNET) && (self.has_any(ENCODERS[1]) || self.is_refiner()) {
            return lacks_vae;
        }
        if !self.has_any(UNET) && self.names("").any(|name| LORA.iter().any(|part| name.contains(part))) {
            return Some(
                "looks like a LoRA and not like a checkpoint: put it into the folder of --lora-dir and name it in a \
                 request",
            );
        }
        // The names of a UNet alone may have a prefix.
        let prefixes = ["", UNET, "diffusion_model."];
        let has = |start: &&str| prefixes.iter().any(|prefix| self.has_any(&format!("{prefix}{start}")));
        match KINDS.iter().find(|(starts, _)| starts.iter().any(has)) {
            Some((_, UNET_ALONE)) if !own_text => lacks_vae,
            Some((_, message)) => Some(message),
            None => Some(OTHER),
        }
    }

    /// Whether the files have both text encoders of SDXL, with SGM's names.
    pub fn has_text_encoders(&self) -> bool {
        ENCODERS.iter().all(|start| self.has_any(start))
    }

    /// Whether the files are a refiner with SGM's names.
    pub fn is_refiner(&self) -> bool {
        self.has_any(REFINER_ENCODER)
    }

    /// Whether the files have an autoencoder, in a checkpoint or alone.
    pub fn has_autoencoder(&self) -> bool {
        [VAE, "decoder."].iter().any(|start| self.has_any(start))
    }
}
