//! Checks while a file arrives that it is a LoRA or an embedding. The pipeline refuses the one in the place of the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::Metadata;

use crate::sdxl::embedding::EmbeddingPart;
use crate::sdxl::lora::is_lora_tensor;

/// The most bytes of a LoRA: 2 GiB.
pub const MOST_BYTES: u64 = 2 << 30;
/// Bytes of the header's length, at the start of the file.
const LENGTH: u64 = 8;
/// The longest header that is read, in bytes.
const MOST_HEADER: u64 = 16 << 20;

/// How much of a file has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its first bytes are missing.
    Begin,
    /// The header ends at this byte.
    Header(u64),
    /// The header is that of a LoRA of this many bytes.
    Lora(u64),
}

/// Checks the header of a safetensors file as soon as it is there.
#[derive(Debug)]
pub struct HeaderCheck {
    state: State,
    /// The most bytes of the file.
    most: u64,
}

impl HeaderCheck {
    /// Allows files of at most `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { state: State::Begin, most }
    }

    /// The size that the file has when it is whole, in bytes; `None` before its header is there.
    pub fn whole(&self) -> Option<u64> {
        match self.state {
            State::Lora(whole) => Some(whole),
            State::Begin | State::Header(_) => None,
        }
    }

    /// Looks at a file that has `have` bytes now.
    ///
    /// # Errors
    /// Why it is not a LoRA, as text after its name.
    pub fn look(&mut self, file: &Path, have: u64) -> Result<(), String> {
        if self.state == State::Begin && have > LENGTH {
            self.state = State::Header(self.header_end(file)?);
        }
        if let State::Header(end) = self.state
            && have >= end
        {
            self.state = State::Lora(self.lora_size(file, end)?);
        }
        match self.state {
            State::Lora(whole) if have > whole => Err("has more bytes than its header says".to_owned()),
            _ => Ok(()),
        }
    }

    /// Checks a file that is whole.
    ///
    /// # Errors
    /// As [`HeaderCheck::look`], and if bytes are missing.
    pub fn check_whole(most: u64, file: &Path) -> Result<(), String> {
        let have = file.metadata().map_err(unreadable)?.len();
        let mut check = Self::new(most);
        check.look(file, have)?;
        match check.whole() {
            Some(whole) if whole == have => Ok(()),
            _ => Err("is not whole".to_owned()),
        }
    }

    fn header_end(&self, file: &Path) -> Result<u64, String> {
        let first = read(file, 0, LENGTH + 1)?;
        let size = first.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // Any other file begins with bytes that are a very large number.
        if first.last() != Some(&b'{') {
            return Err("is neither a LoRA nor an embedding: it is not a safetensors file".to_owned());
        }
        if size > MOST_HEADER {
            return Err(format!(
                "is neither a LoRA nor an embedding: its header has {size} bytes, and at most {MOST_HEADER} are allowed"
            ));
        }
        Ok(LENGTH + size)
    }

    fn lora_size(&self, file: &Path, end: u64) -> Result<u64, String> {
        let text = read(file, LENGTH, end - LENGTH)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|_| {
            "is neither a LoRA nor an embedding: its header is not that of a safetensors file".to_owned()
        })?;
        let names = header.offset_keys();
        // The single tensor of an embedding has the name of its word; that of a module has dots.
        let is_word = matches!(&names[..], [name] if !name.contains('.'));
        let is_embedding = is_word || names.iter().any(|name| EmbeddingPart::parse(name).is_some());
        if !is_embedding && !names.iter().any(|name| is_lora_tensor(name)) {
            return Err(
                "is neither a LoRA nor an embedding: no tensor has a name of peft's or kohya's LoRAs, or of embeddings".to_owned()
            );
        }
        let (size, most) = (end.saturating_add(header.data_len() as u64), self.most);
        if size > most {
            return Err(format!("has {size} bytes, and at most {most} are allowed"));
        }
        Ok(size)
    }
}

fn read(file: &Path, at: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length as usize];
    File::open(file).and_then(|file| file.read_exact_at(&mut bytes, at)).map_err(unreadable)?;
    Ok(bytes)
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 20;

    /// A safetensors file with one tensor of this name and 4 bytes.
    fn file(name: &str) -> Vec<u8> {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
    }

    /// Looks at each beginning of a file. Returns the error and after how many bytes it came.
    fn looked(bytes: &[u8], most: u64) -> Result<Option<u64>, (usize, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut check = HeaderCheck::new(most);
        for have in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..have]).unwrap();
            check.look(&path, have as u64).map_err(|error| (have, error))?;
        }
        Ok(check.whole())
    }

    #[test]
    fn a_lora_is_known_by_its_header() {
        for name in ["unet.x.lora_A.weight", "lora_unet_x.alpha"] {
            let bytes = file(name);
            assert_eq!(looked(&bytes, MOST), Ok(Some(bytes.len() as u64)));
            let header = bytes.len() - 4;
            let (at, error) = looked(&bytes, header as u64).unwrap_err();
            assert!(at == header && error.contains("at most"), "{error}");
            let (at, error) = looked(&[&bytes[..], b"x"].concat(), MOST).unwrap_err();
            assert!(at == bytes.len() + 1 && error.contains("more bytes"), "{error}");
        }
        let other = file("unet.conv_in.weight");
        let (at, error) = looked(&other, MOST).unwrap_err();
        assert!(at == other.len() - 4 && error.contains("no tensor"), "{error}");
    }

    #[test]
    fn garbage_is_refused_after_its_first_bytes() {
        let long = [&u64::to_le_bytes(MOST_HEADER + 1)[..], b"{}"].concat();
        let broken = [&u64::to_le_bytes(2)[..], b"{]xxxxx"].concat();
        for (bytes, at, part) in [
            (&b"<!DOCTYPE html>"[..], 9, "not a safetensors file"),
            (&[0; 20], 9, "not a safetensors file"),
            (&long, 9, "header has"),
            (&broken, 10, "header is not"),
        ] {
            let (after, error) = looked(bytes, MOST).unwrap_err();
            assert!(after == at && error.contains(part), "{after} {error}");
        }
        assert_eq!(looked(b"short", MOST), Ok(None));
    }
}
