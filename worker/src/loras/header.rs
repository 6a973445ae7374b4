//! Checks while a file arrives that it is a LoRA or an embedding, or that it is a ControlNet. The pipeline refuses a LoRA
//! in the place of an embedding, and a ControlNet that it cannot use.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::Metadata;

use crate::sdxl::controlnet::is_controlnet_tensor;
use crate::sdxl::embedding::EmbeddingPart;
use crate::sdxl::lora::is_lora_tensor;

/// What a file should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A LoRA or an embedding.
    Lora,
    /// The weights of a ControlNet.
    ControlNet,
}

impl Content {
    /// The most bytes of such a file: 2 GiB, and 6 GiB of a ControlNet, which has 5 GB in float32.
    pub fn most_bytes(self) -> u64 {
        match self {
            Self::Lora => 2 << 30,
            Self::ControlNet => 6 << 30,
        }
    }

    fn has(self, names: &[String]) -> bool {
        // The single tensor of an embedding has the name of its word; that of a module has dots.
        let is_word = || matches!(names, [name] if !name.contains('.'));
        let some = |is: fn(&str) -> bool| names.iter().any(|name| is(name));
        match self {
            Self::Lora => {
                is_word() || some(|name| EmbeddingPart::parse(name).is_some()) || some(is_lora_tensor)
            }
            Self::ControlNet => some(is_controlnet_tensor),
        }
    }

    /// A LoRA and an embedding are not told apart before the pipeline reads them.
    fn is_not(self) -> &'static str {
        match self {
            Self::Lora => "is neither a LoRA nor an embedding",
            Self::ControlNet => "is not a ControlNet",
        }
    }

    fn why_not(self) -> &'static str {
        match self {
            Self::Lora => "no tensor has a name of peft's or kohya's LoRAs, or of embeddings",
            Self::ControlNet => "no tensor has the name of a ControlNet's, of diffusers or SGM",
        }
    }
}

/// Its name in messages.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lora => "LoRA",
            Self::ControlNet => "ControlNet",
        })
    }
}
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
    /// The header is the right one, of a file of this many bytes.
    Right(u64),
}

/// Checks the header of a safetensors file as soon as it is there.
#[derive(Debug)]
pub struct HeaderCheck {
    content: Content,
    state: State,
    /// The most bytes of the file.
    most: u64,
}

impl HeaderCheck {
    /// Allows files with this content and at most `most` bytes.
    pub fn new(content: Content, most: u64) -> Self {
        Self { content, state: State::Begin, most }
    }

    /// The size that the file has when it is whole, in bytes; `None` before its header is there.
    pub fn whole(&self) -> Option<u64> {
        match self.state {
            State::Right(whole) => Some(whole),
            State::Begin | State::Header(_) => None,
        }
    }

    /// Looks at a file that has `have` bytes now.
    ///
    /// # Errors
    /// Why it is not the right file, as text after its name.
    pub fn look(&mut self, file: &Path, have: u64) -> Result<(), String> {
        if self.state == State::Begin && have > LENGTH {
            self.state = State::Header(self.header_end(file)?);
        }
        if let State::Header(end) = self.state
            && have >= end
        {
            self.state = State::Right(self.size(file, end)?);
        }
        match self.state {
            State::Right(whole) if have > whole => Err("has more bytes than its header says".to_owned()),
            _ => Ok(()),
        }
    }

    /// Checks a file that is whole.
    ///
    /// # Errors
    /// As [`HeaderCheck::look`], and if bytes are missing.
    pub fn check_whole(content: Content, most: u64, file: &Path) -> Result<(), String> {
        let have = file.metadata().map_err(unreadable)?.len();
        let mut check = Self::new(content, most);
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
            return Err(self.not("it is not a safetensors file"));
        }
        if size > MOST_HEADER {
            let why = format!("its header has {size} bytes, and at most {MOST_HEADER} are allowed");
            return Err(self.not(&why));
        }
        Ok(LENGTH + size)
    }

    /// Why the file is not the right one.
    pub fn not(&self, why: &str) -> String {
        format!("{}: {why}", self.content.is_not())
    }

    fn size(&self, file: &Path, end: u64) -> Result<u64, String> {
        let text = read(file, LENGTH, end - LENGTH)?;
        let header: Metadata = serde_json::from_slice(&text)
            .map_err(|_| self.not("its header is not that of a safetensors file"))?;
        let names = header.offset_keys();
        if !self.content.has(&names) {
            return Err(self.not(self.content.why_not()));
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
        let mut check = HeaderCheck::new(Content::Lora, most);
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
