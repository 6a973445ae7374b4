//! Finds the fault in a header that the safetensors library refuses. The library does not always name the tensor.

use safetensors::tensor::Dtype;
use serde_json::{Map, Value};

use crate::sdxl::error::Shown;

/// The key of the metadata.
const METADATA: &str = "__metadata__";

/// A tensor's entry in the header.
struct Entry<'a> {
    name: Shown<'a>,
    kind: Dtype,
    shape: Vec<usize>,
    offsets: [usize; 2],
}

/// What is wrong with a header, as text after the file's name. `error` is the library's error.
pub(super) fn fault(header: &[u8], error: &serde_json::Error) -> String {
    let invalid = |fault: String| {
        format!(
            "not a valid safetensors file: {fault}; download it again, or write it again with the safetensors library"
        )
    };
    let mut entries: Map<String, Value> = match serde_json::from_slice(header) {
        Ok(entries) => entries,
        Err(error) => return invalid(format!("its header is not a JSON object: {error}")),
    };
    let metadata = entries.remove(METADATA).unwrap_or(Value::Null);
    if let Some(unknown) = entries.iter().find_map(|(name, entry)| unknown_type(name, entry)) {
        return unknown;
    }
    invalid(metadata_fault(&metadata).or_else(|| tensor_fault(&entries)).unwrap_or_else(|| error.to_string()))
}

/// An error message for a tensor with an unknown dtype.
fn unknown_type(name: &str, entry: &Value) -> Option<String> {
    let kind = entry.get("dtype")?.as_str()?;
    let message = || format!("{} is of type {}, which is not supported", Shown(name), Shown(kind));
    dtype(kind).is_none().then(message)
}

fn dtype(name: &str) -> Option<Dtype> {
    serde_json::from_value(Value::from(name)).ok()
}

fn metadata_fault(metadata: &Value) -> Option<String> {
    let entries = match metadata {
        Value::Null => return None,
        Value::Object(entries) => entries,
        other => return Some(format!("{METADATA} is {}, not an object of texts", Shown(&other.to_string()))),
    };
    let (key, value) = entries.iter().find(|(_, value)| !value.is_string())?;
    Some(format!("in {METADATA}, \"{}\" is {}, not a text", Shown(key), Shown(&value.to_string())))
}

fn tensor_fault(entries: &Map<String, Value>) -> Option<String> {
    let read: Result<Vec<_>, _> = entries.iter().map(|(name, entry)| Entry::read(name, entry)).collect();
    let mut tensors = match read {
        Ok(tensors) => tensors,
        Err(fault) => return Some(fault),
    };
    tensors.sort_by_key(|tensor| tensor.offsets);
    let mut start = 0;
    tensors.iter().find_map(|tensor| tensor.fault(std::mem::replace(&mut start, tensor.offsets[1])))
}

impl<'a> Entry<'a> {
    fn read(name: &'a str, entry: &Value) -> Result<Self, String> {
        let name = Shown(name);
        let wrong = |key: &str| match entry.get(key) {
            Some(value) => format!("{name} has the {key} {}", Shown(&value.to_string())),
            None => format!("{name} has no {key}"),
        };
        let numbers = |key: &str| -> Result<Vec<usize>, String> {
            let list = entry.get(key).and_then(Value::as_array);
            let numbers =
                list.and_then(|list| list.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect());
            numbers.ok_or_else(|| wrong(key))
        };
        let kind = entry.get("dtype").and_then(Value::as_str).and_then(dtype);
        let kind = kind.ok_or_else(|| wrong("dtype"))?;
        let (shape, offsets) = (numbers("shape")?, numbers("data_offsets")?);
        let offsets = offsets.try_into().map_err(|_| wrong("data_offsets"))?;
        Ok(Self { name, kind, shape, offsets })
    }

    /// What is wrong with a tensor after others that end at `start`.
    fn fault(&self, start: usize) -> Option<String> {
        let Self { name, kind, shape, offsets: [from, to] } = self;
        let shape_shown = format!("{shape:?}");
        let shown = Shown(&shape_shown);
        if *from != start || to < from {
            return Some(format!("{name} is at the bytes {from} to {to}, and should begin at {start}"));
        }
        let elements = shape.iter().try_fold(1_usize, |all, axis| all.checked_mul(*axis));
        match elements.and_then(|elements| elements.checked_mul(kind.bitsize())) {
            None => Some(format!("{name} has the shape {shown}, which is too large")),
            Some(bits) if bits % 8 != 0 => Some(format!(
                "{name} has the shape {shown}, which is not a whole number of bytes in {kind:?}"
            )),
            Some(bits) if bits / 8 != to - from => Some(format!(
                "{name} has {} bytes, and the shape {shown} in {kind:?} has {}",
                to - from,
                bits / 8
            )),
            Some(_) => None,
        }
    }
}
