//! Tensors beside a quantised weight: scales, and the signs of formats that are not supported.

use std::collections::BTreeSet;

use safetensors::tensor::Dtype;

use super::shard::Shards;

/// How to read a weight, by the tensors beside it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// As plain numbers.
    Nothing,
    /// Multiplied by the numbers of this tensor.
    Scale(String),
    /// As [`Beside::Scale`], if the JSON in the second tensor says so.
    Described(String, String),
    /// Not supported: the format, and the tensor that shows it.
    Quantised(&'static str, String),
}

/// Endings of tensors that show a format, after the name of a module or of its weight.
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

/// The start of endings that show bitsandbytes.
const QUANT_STATE: &str = "quant_state";

/// ComfyUI's names of scales in "scaled fp8" files: the old and the new name.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// ComfyUI's scales of a layer's inputs, for products in 8 bits. Not needed: products here use more bits.
const OF_INPUTS: [&str; 2] = ["scale_input", "input_scale"];

/// The tensor in which new ComfyUI files describe a weight, in JSON.
const DESCRIPTION: &str = "comfy_quant";

/// The tensor that marks a component with [`SCALES`]. It is not a weight.
pub(super) const MARK: &str = "scaled_fp8";

/// The format in a [`DESCRIPTION`]; `None` for numbers times a scale.
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

/// How to read the stored tensor `name`. Adds the scales and descriptions beside it to `known`.
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
        None => unknown_format(shards, name, module),
    }
}

/// An integer tensor is a weight, unless there is an unknown tensor beside it.
fn unknown_format(shards: &Shards, name: &str, module: &str) -> Beside {
    let known = |ending: &str| ["weight", "bias"].contains(&ending) || OF_INPUTS.contains(&ending);
    let other = match shards.kind(name) {
        Some(Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32) => {
            shards.names(module).find(|other| !known(&other[module.len()..]))
        }
        _ => None,
    };
    other.map_or(Beside::Nothing, |other| Beside::Quantised("an unknown format", other.to_owned()))
}
