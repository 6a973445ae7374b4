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
    /// As [`Beside::Scale`], if the JSON in the second tensor says so and there is a scale.
    Described(Option<String>, String),
    /// Not supported: the format, and the tensor that shows it.
    Quantised(&'static str, String),
}

/// Endings of tensors that show a format, after the name of a module or of its weight.
const FORMATS: [(&str, &str); 15] = [
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
    ("weight_packed", "compressed-tensors"),
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

/// Names of scales: ComfyUI's old and new name in "scaled fp8" files, and DeepSeek's. The last one is also a factor:
/// the inverse of the scale that was used to quantise.
const SCALES: [&str; 3] = ["scale_weight", "weight_scale", "weight_scale_inv"];

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
    let there = |ending: &str| Some(format!("{module}{ending}")).filter(|name| shards.has(name));
    let (scale, description) = (SCALES.into_iter().find_map(there), there(DESCRIPTION));
    let used = [&scale, &description].into_iter().flatten().cloned();
    known.extend(used.clone());
    if let (None, Some(description)) = (&scale, description.clone()) {
        return Beside::Described(None, description);
    }
    if let Some(other) = stranger(shards, name, module, &used.collect::<Vec<_>>()) {
        return Beside::Quantised("an unknown format", other);
    }
    match (scale, description) {
        (scale, Some(description)) => Beside::Described(scale, description),
        (Some(scale), None) => Beside::Scale(scale),
        (None, None) => Beside::Nothing,
    }
}

/// A tensor beside a weight that changes its meaning in an unknown way: any tensor beside integers and 8-bit floats,
/// and a scale or a zero point beside other floats.
fn stranger(shards: &Shards, name: &str, module: &str, used: &[String]) -> Option<String> {
    let is_wide = matches!(shards.kind(name)?, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    let is_strange = |ending: &str| match ending {
        "weight" | "bias" => false,
        _ if OF_INPUTS.contains(&ending) => false,
        _ => !is_wide || ending.contains("scale") || ending.contains("zero_point"),
    };
    let others = shards.names(module).filter(|other| !used.iter().any(|name| name == other));
    others
        .map(|other| (other, &other[module.len()..]))
        .find(|(_, ending)| is_strange(ending))
        .map(|(other, _)| other.to_owned())
}
