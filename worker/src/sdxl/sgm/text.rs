//! The names of the text encoders: transformers' for the first, open_clip's for the second.

use super::names::{Modules, rename};
use crate::sdxl::clip::ClipConfig;
use crate::sdxl::weights::{Naming, Shards, Stored, View};

/// The naming of the first text encoder.
pub fn text_encoder() -> Naming {
    Naming::new("conditioner.embedders.0.transformer.", |name| Stored {
        name: name.to_owned(),
        view: View::Whole,
    })
}

/// The second text encoder's names in a checkpoint, and those of a refiner, which has no other.
const SECOND: &str = "conditioner.embedders.1.model.";
const OF_REFINER: &str = "conditioner.embedders.0.model.";
/// The second text encoder's projection as a linear layer, [outputs, inputs], as converters write it.
const LINEAR_PROJECTION: &str = "text_projection.weight";

/// The naming of the second text encoder in the files `shards`, which is the only one of a refiner.
pub fn text_encoder_2(config: &ClipConfig, shards: &Shards) -> Naming {
    let prefix = if shards.is_refiner() { OF_REFINER } else { SECOND };
    let is_linear = shards.has_any(&format!("{prefix}{LINEAR_PROJECTION}"));
    let mut modules = Modules::new();
    for (transformers, open_clip) in [
        ("text_model.embeddings.token_embedding", "token_embedding"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_model.final_layer_norm", "ln_final"),
    ] {
        modules.insert(transformers.to_owned(), open_clip.to_owned());
    }
    if !is_linear {
        modules.insert(LINEAR_PROJECTION.to_owned(), "text_projection".to_owned());
    }
    for i in 0..config.num_hidden_layers {
        for (transformers, open_clip) in [
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("self_attn.out_proj", "attn.out_proj"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.q_proj.weight", "attn.in_proj_weight"),
            ("self_attn.k_proj.weight", "attn.in_proj_weight"),
            ("self_attn.v_proj.weight", "attn.in_proj_weight"),
            ("self_attn.q_proj.bias", "attn.in_proj_bias"),
            ("self_attn.k_proj.bias", "attn.in_proj_bias"),
            ("self_attn.v_proj.bias", "attn.in_proj_bias"),
        ] {
            modules.insert(
                format!("text_model.encoder.layers.{i}.{transformers}"),
                format!("transformer.resblocks.{i}.{open_clip}"),
            );
        }
    }
    Naming::new(prefix, move |name| Stored {
        name: rename(&modules, name).unwrap_or_else(|| name.to_owned()),
        view: view(name, is_linear),
    })
}

/// open_clip has queries, keys and values in one tensor, and a transposed projection, unless that `is_linear`.
fn view(name: &str, is_linear: bool) -> View {
    let third = ["q_proj", "k_proj", "v_proj"].iter().position(|part| name.contains(part));
    match third {
        Some(index) => View::Part { index, of: 3 },
        None if name == LINEAR_PROJECTION && !is_linear => View::Transposed,
        None => View::Whole,
    }
}
