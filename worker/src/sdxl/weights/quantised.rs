//! What files have beside a weight that is not stored as plain numbers.

use std::collections::BTreeSet;

use safetensors::tensor::Dtype;

use super::shard::Shards;

/// What has to be known to read a weight, besides its numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// Its numbers are to be multiplied with those of this tensor.
    Scale(String),
    /// As [`Beside::Scale`], if the text in the second tensor says so.
    Described(String, String),
    /// Its numbers mean something else: the format, and the tensor that says so.
    Quantised(&'static str, String),
}

/// Endings that name a format, after a module's name or after its weight's.
const FORMATS: [(&str, &str); 14] = [
    ("absmax", BITSANDBYTES),
    ("quant_map", BITSANDBYTES),
    ("nested_absmax", BITSANDBYTES),
    ("SCB", BITSANDBYTES),
    ("qweight", GPTQ),
    ("qzeros", GPTQ),
    ("g_idx", GPTQ),
    ("_data", QUANTO),
    ("_scale", QUANTO),
    ("_weight_qdata", TORCHAO),
    ("W_q", "HQQ"),
    ("weight_scale_2", "NVFP4"),
    ("wscales", "SVDQuant"),
    ("smooth_factor", "SVDQuant"),
];
const BITSANDBYTES: &str = "bitsandbytes";
const GPTQ: &str = "GPTQ or AWQ";
const QUANTO: &str = "quanto";
const TORCHAO: &str = "torchao";

/// Beginnings of such endings.
const QUANT_STATE: &str = "quant_state";

/// Scales as ComfyUI names them in its "scaled fp8" files: first the older name, then the newer one.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// Those of a layer's inputs. They make its product fit into 8 bits; ours is computed with more.
const OF_INPUTS: [&str; 2] = ["scale_input", "input_scale"];

/// What ComfyUI's newer files say about a weight, in JSON.
const DESCRIPTION: &str = "comfy_quant";

/// Says that a component has [`SCALES`]; not a weight.
pub(super) const MARK: &str = "scaled_fp8";

/// The format that a [`DESCRIPTION`] gives, if it is another one than numbers times a scale.
pub(super) fn described(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Description {
        format: String,
    }
    match serde_json::from_slice(text) {
        Ok(Description { format }) if format.starts_with("float8_") => None,
        Ok(Description { format }) => Some(format),
        Err(_) => Some("an unknown format".to_owned()),
    }
}

/// What is beside the stored tensor `name`. Adds what of it is not a weight to `known`.
pub(super) fn beside(shards: &Shards, name: &str, known: &mut BTreeSet<String>) -> Beside {
    let Some(module) = name.strip_suffix("weight") else { return Beside::Nothing };
    for place in [module.to_owned(), format!("{name}.")] {
        let found = shards.names(&place).find_map(|other| {
            let ending = &other[place.len()..];
            let state = ending.starts_with(QUANT_STATE).then_some(BITSANDBYTES);
            let format = FORMATS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format);
            state.or(format).map(|format| Beside::Quantised(format, other.to_owned()))
        });
        if let Some(found) = found {
            return found;
        }
    }
    known.extend(OF_INPUTS.map(|ending| format!("{module}{ending}")));
    let description = format!("{module}{DESCRIPTION}");
    let scale = SCALES.map(|ending| format!("{module}{ending}")).into_iter().find(|n| shards.has(n));
    known.extend([scale.clone(), Some(description.clone())].into_iter().flatten());
    match scale {
        Some(scale) if shards.has(&description) => Beside::Described(scale, description),
        Some(scale) => Beside::Scale(scale),
        None => stranger(shards, name, module),
    }
}

/// Integers alone are a weight; beside an unknown tensor they are an unknown format.
fn stranger(shards: &Shards, name: &str, module: &str) -> Beside {
    let known = |ending: &str| ["weight", "bias"].contains(&ending) || OF_INPUTS.contains(&ending);
    let other = match shards.kind(name) {
        Some(Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32) => {
            shards.names(module).find(|other| !known(&other[module.len()..]))
        }
        _ => None,
    };
    other.map_or(Beside::Nothing, |other| Beside::Quantised("an unknown format", other.to_owned()))
}
