//! Recognises files that are not of the expected format: other formats, and what failed downloads leave.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::error::LoadError;

/// The bytes at the start of a file that are enough to recognise it.
pub(super) const ENOUGH: usize = 512;

/// Most characters of a file's text in a message.
const SHOWN: usize = 40;

pub(super) const PICKLE: &str =
    "a PyTorch pickle, which can run programs when it is read: convert it to .safetensors";
const LFS: &str = "a Git LFS pointer and not the file itself: run git lfs pull";
const PICTURE: &str = "a picture and not the file itself: download it again";
const ARCHIVE: &str = "a compressed archive: unpack it and name the file in it";

/// Formats by the first bytes of their files.
const FORMATS: [(&[u8], &str); 22] = [
    (b"GGUF", "a GGUF file: quantised models are not supported, use a .safetensors file in float16"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"version https://git-lfs", LFS),
    (b"version https://hawser", LFS),
    (b"# xet version", "a Xet pointer and not the file itself: download the file with hf download"),
    (b"\x1f\x8b", ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!", ARCHIVE),
    (b"BZh", ARCHIVE),
    (b"\xfd7zXZ\0", ARCHIVE),
    (b"\x28\xb5\x2f\xfd", ARCHIVE),
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"RIFF", PICTURE),
    (b"%PDF", "a PDF document and not the file itself: download it again"),
    (b"\x89HDF", "an HDF5 file, which is not supported: use a .safetensors file"),
    (b"ONNX", "an ONNX file, which is not supported: use a .safetensors file"),
    (b"\x08\x07\x12\x07pytorch", "an ONNX file, which is not supported: use a .safetensors file"),
];

/// Zip archives; PyTorch's files are such archives.
const ZIP: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];

/// Place and text of the mark of a tar archive. PyTorch wrote such archives until 2017.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// What a file is, by its first bytes, if neither safetensors nor JSON files begin so.
pub(super) fn known(first: &[u8], path: &Path) -> Option<&'static str> {
    let named = |endings: &[&str]| {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        endings.contains(&ending.as_str())
    };
    if first.is_empty() {
        return Some("the file is empty: download it again");
    }
    if ZIP.iter().any(|magic| first.starts_with(magic)) {
        return Some(if named(&["zip"]) { ARCHIVE } else { PICKLE });
    }
    if first.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Some(if named(&["tar"]) { ARCHIVE } else { PICKLE });
    }
    if let [b'<', b'!' | b'?' | b'a'..=b'z' | b'A'..=b'Z', ..] = text_of(first)[..] {
        return Some("a web page and not the file itself: perhaps the download needs a login");
    }
    FORMATS.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| *what)
}

/// What a file begins with, if that is text or zeroes.
pub(super) fn opening(first: &[u8]) -> Option<String> {
    if first.iter().all(|byte| *byte == 0) {
        return Some("zeroes, which an interrupted download leaves".to_owned());
    }
    let bytes = text_of(first);
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // The last character may be incomplete.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    // The length at the start of a safetensors file has zeroes.
    let is_text = !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    let shown: String = text.trim_end().chars().take(SHOWN).collect();
    is_text.then(|| format!("the text {shown:?}"))
}

/// The bytes of a text without a byte order mark and leading space. UTF-16 becomes ASCII.
fn text_of(first: &[u8]) -> Vec<u8> {
    let text = match first {
        [0xEF, 0xBB, 0xBF, rest @ ..] => rest.to_vec(),
        [0xFF, 0xFE, rest @ ..] | [0xFE, 0xFF, rest @ ..] => {
            rest.iter().copied().filter(|byte| *byte != 0).collect()
        }
        _ => first.to_vec(),
    };
    text.trim_ascii_start().to_vec()
}

/// The text of a file, without a byte order mark; `None` if there is no file.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or is of another format.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.into(), source };
    match fs::metadata(path) {
        Ok(status) if status.is_file() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => return Err(not_a_file(path, "a text file")),
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let malformed = |message: &str| LoadError::Malformed { path: path.into(), message: message.to_owned() };
    if let Some(what) = known(&bytes[..bytes.len().min(ENOUGH)], path) {
        return Err(malformed(what));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8 text: save it as UTF-8"))?;
    Ok(Some(without_mark(&text).to_owned()))
}

/// The text without a byte order mark, which some editors on Windows write.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The error for a path at which there is no regular file. `what` says what should be there.
pub fn not_a_file(path: &Path, what: &'static str) -> LoadError {
    let malformed =
        |is: &str| LoadError::Malformed { path: path.into(), message: format!("is {is}, not {what}") };
    match fs::metadata(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            LoadError::Unreadable { path: path.into(), source: error }
        }
        Err(_) if path.is_symlink() => malformed("a link to something that does not exist"),
        Err(_) => LoadError::Missing { path: path.into(), what },
        Ok(status) => malformed(match status.file_type() {
            kind if kind.is_dir() => "a folder",
            kind if kind.is_fifo() => "a named pipe",
            kind if kind.is_socket() => "a socket",
            kind if kind.is_char_device() || kind.is_block_device() => "a device",
            _ => "a file",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_and_zip_archives_are_told_apart_by_their_ending() {
        let mut tar = vec![b'x'; 300];
        tar[257..262].copy_from_slice(b"ustar");
        for first in [&tar[..], b"PK\x03\x04"] {
            assert_eq!(known(first, Path::new("x.pt")), Some(PICKLE));
        }
        assert_eq!(known(&tar, Path::new("x.TAR")), Some(ARCHIVE));
        assert_eq!(known(b"PK\x03\x04", Path::new("x.zip")), Some(ARCHIVE));
    }

    #[test]
    fn text_is_shown_and_bytes_are_not() {
        assert_eq!(opening(b"Entry not found").as_deref(), Some("the text \"Entry not found\""));
        assert_eq!(opening("é".repeat(300).as_bytes().split_last().unwrap().1).unwrap().chars().count(), 51);
        assert_eq!(opening(b"\x20\0\0\0\0\0\0\0{\"a\""), None);
        assert_eq!(opening(b"\xff\x00\x01"), None);
    }
}
