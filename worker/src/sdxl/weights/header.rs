//! The header of a safetensors file. Recognises other kinds of files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use safetensors::tensor::{Dtype, Metadata};
use serde_json::Value;

/// Bytes of the header's length, at the start of the file.
const LENGTH: u64 = 8;

/// The longest header of the format, in bytes.
const LONGEST: u64 = 100_000_000;

/// Why the header cannot be read.
pub(super) enum NoHeader {
    Unreadable(std::io::Error),
    /// What is wrong, as text after the file's name.
    Malformed(String),
}

impl From<std::io::Error> for NoHeader {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The header of a file of `length` bytes, and the offset of the tensors.
pub(super) fn read(file: &File, length: u64) -> Result<(Metadata, u64), NoHeader> {
    let mut first = vec![0; length.min(64) as usize];
    file.read_exact_at(&mut first, 0)?;
    let cut = |why: String| {
        let other = other_format(&first).map(str::to_owned);
        let message = other.unwrap_or_else(|| format!("not a whole safetensors file (is it cut?): {why}"));
        NoHeader::Malformed(message)
    };
    let Some(size) = first.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(cut(format!("it has {length} bytes")));
    };
    if size > LONGEST || LENGTH + size > length {
        return Err(cut(format!("its header should have {size} bytes, and the file has {length}")));
    }
    let mut text = vec![0; size as usize];
    file.read_exact_at(&mut text, LENGTH)?;
    let header: Metadata = match serde_json::from_slice(&text) {
        Ok(header) => header,
        Err(error) => {
            let message = unknown_type(&text);
            return Err(message.map_or_else(|| cut(error.to_string()), NoHeader::Malformed));
        }
    };
    let data = LENGTH + size;
    let end = data.checked_add(header.data_len() as u64);
    if end != Some(length) {
        return Err(cut(format!("its tensors have {} bytes, the file {}", header.data_len(), length - data)));
    }
    Ok((header, data))
}

/// The kind of a file that is not safetensors, by its first bytes.
fn other_format(first: &[u8]) -> Option<&'static str> {
    let text = first.trim_ascii_start();
    if first.is_empty() {
        Some("the file is empty")
    } else if first.starts_with(b"GGUF") {
        Some("a GGUF file: quantised models are not supported, use a .safetensors file in float16")
    } else if first.starts_with(b"PK\x03\x04") || first.starts_with(b"\x80\x02") {
        Some("a PyTorch pickle, which can run programs when it is read: convert it to .safetensors")
    } else if first.starts_with(b"version https://git-lfs") {
        Some("a Git LFS pointer and not the file itself: run git lfs pull")
    } else if text.starts_with(b"<") {
        Some("a web page and not a model: perhaps the download needs a login")
    } else {
        None
    }
}

/// An error message for the first tensor with an unknown dtype.
fn unknown_type(header: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Kind {
        dtype: Option<String>,
    }
    let tensors: BTreeMap<String, Kind> = serde_json::from_slice(header).ok()?;
    tensors.into_iter().find_map(|(name, Kind { dtype })| {
        let dtype = dtype?;
        let known = serde_json::from_value::<Dtype>(Value::from(dtype.as_str())).is_ok();
        (!known).then(|| format!("{name} is of type {dtype}, which is not supported"))
    })
}
