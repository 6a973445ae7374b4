//! What a file is that is not a ControlNet of the supported kind, by its tensors' names.

use crate::sdxl::weights::Shards;

/// Files of other kinds, by parts of names: the first kind that matches counts.
const KINDS: [(&[&str], &str); 7] = [
    (
        &["lora_controlnet"],
        "is a control-LoRA, which is not supported: use a whole ControlNet, such as one in diffusers' layout",
    ),
    (
        &["lllite_"],
        "is a ControlNet-LLLite, which is not supported: use a whole ControlNet, such as one in diffusers' layout",
    ),
    (&["image_proj.", "ip_adapter."], "is an IP-Adapter and not a ControlNet: it is not supported here"),
    (
        &["adapter.", "body.0."],
        "is a T2I-Adapter, which is not supported: use a ControlNet for the same kind of picture",
    ),
    (
        &[
            "double_blocks.",
            "joint_blocks.",
            "transformer_blocks.0.attn.",
            "controlnet_blocks.",
            "controlnet_mode_embedder",
        ],
        "is a ControlNet of another kind of model, such as FLUX or Stable Diffusion 3: only those of SDXL are supported",
    ),
    (&["lora_unet_", ".lora_up.", ".lora_A.", ".lora.up."], "is a LoRA and not a ControlNet"),
    (
        &["model.diffusion_model.", "up_blocks.", "output_blocks.", "first_stage_model."],
        "is a checkpoint or a UNet and not a ControlNet",
    ),
];

/// Whether a tensor of this name is one of a ControlNet, of those too that are not supported.
pub fn is_controlnet_tensor(name: &str) -> bool {
    const PARTS: [&str; 5] = [
        "controlnet_cond_embedding.",
        "input_hint_block.",
        "controlnet_down_blocks.",
        "zero_convs.",
        "task_embedding",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Why the files are not a supported ControlNet, as text after their name; `None` if nothing speaks against it.
pub(super) fn other_kind(shards: &Shards) -> Option<&'static str> {
    let has = |part: &&str| {
        // A whole name's beginning, below a prefix or not.
        let inner = format!(".{part}");
        shards
            .names("")
            .any(|name| name.starts_with(part) || name.contains(&inner) || lies_inside(name, part))
    };
    KINDS.iter().find(|(parts, _)| parts.iter().any(has)).map(|(_, what)| *what)
}

/// For parts that begin with a dot: anywhere in the name.
fn lies_inside(name: &str, part: &str) -> bool {
    part.starts_with('.') && name.contains(part)
}
