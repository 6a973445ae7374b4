//! The header of a safetensors file. Tells truncated files, wrong headers and other formats apart.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::Metadata;

use super::fault::fault;
use crate::sdxl::error::Shown;
use crate::sdxl::foreign;

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
pub(super) fn read(file: &File, path: &Path, length: u64) -> Result<(Metadata, u64), NoHeader> {
    let mut first = vec![0; length.min(foreign::ENOUGH as u64) as usize];
    file.read_exact_at(&mut first, 0)?;
    // Another format, or else the error of a safetensors file.
    let wrong = |error: String| {
        let opening = || {
            let opening = foreign::opening(&first)?;
            Some(format!("not a safetensors file: it begins with {opening}; download it again"))
        };
        let known = foreign::known(&first, path).map(str::to_owned);
        NoHeader::Malformed(known.or_else(opening).unwrap_or(error))
    };
    let cut =
        |why: String| wrong(format!("not a whole safetensors file (is it cut?): {why}; download it again"));
    let Some(size) = first.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(cut(format!("it has {length} bytes")));
    };
    let begins_as_header = first.get(LENGTH as usize).is_none_or(|byte| *byte == b'{');
    if size > LONGEST || (LENGTH + size > length && !begins_as_header) {
        return Err(wrong("not a safetensors file: it does not begin with a header".to_owned()));
    }
    if LENGTH + size > length {
        return Err(cut(format!("its header should have {size} bytes, and the file has {length}")));
    }
    let mut text = vec![0; size as usize];
    file.read_exact_at(&mut text, LENGTH)?;
    let header: Metadata = serde_json::from_slice(&text).map_err(|error| wrong(fault(&text, &error)))?;
    let data = LENGTH + size;
    let (wanted, found) = (header.data_len() as u64, length - data);
    if wanted > found {
        let beyond = header.offset_keys().into_iter().find_map(|name| {
            let (_, end) = header.info(&name)?.data_offsets;
            (end as u64 > found).then_some((name, end))
        });
        let (name, end) = beyond.unwrap_or_default();
        let name = Shown(&name);
        return Err(cut(format!(
            "{name} ends at byte {end} of {wanted} bytes of tensors, and the file has only {found}"
        )));
    }
    if wanted < found {
        return Err(wrong(format!(
            "not a valid safetensors file: it has {} bytes after its last tensor; download it again",
            found - wanted
        )));
    }
    Ok((header, data))
}
