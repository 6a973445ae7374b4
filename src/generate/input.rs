//! What `glimpse generate` reads: the prompt, pictures, and the names of LoRAs.

use std::{
    io::{Read, stdin},
    path::Path,
    str::FromStr,
};

use glimpse_shared::request::{InputImage, LoraRequest};

use super::failure::Failure;

/// The prompt that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// Bytes of standard input that are read: more than the longest prompt has.
const MOST_BYTES: u64 = 64 * 1024;

/// The prompt as it is given, or what standard input has in the place of `-`, without the end of its last line.
///
/// # Errors
/// If standard input cannot be read, is empty, too long, or no UTF-8.
pub fn prompt(given: String) -> Result<String, Failure> {
    if given != STANDARD_INPUT {
        return Ok(given);
    }
    let wrong = |error: String| Failure::BadInput(format!("prompt (standard input): {error}"));
    let mut bytes = Vec::new();
    stdin().take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("it has more than {MOST_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    // Some editors begin every text with this mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(text.to_owned())
}

/// A picture's file as a data URI. That it is a picture is found out here, and that it can be decoded where the
/// request is checked.
///
/// # Errors
/// Names the flag if the file cannot be read or is no picture.
pub fn picture(flag: &str, path: &Path) -> Result<String, Failure> {
    let wrong = |error: String| Failure::BadInput(format!("--{flag} {}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let image = InputImage::new(bytes.into()).map_err(|error| wrong(error.to_string()))?;
    Ok(image.to_data_uri())
}

/// `NAME[:SCALE]`: a name has no colon.
#[derive(Debug, Clone)]
pub struct LoraArg(pub LoraRequest);

impl FromStr for LoraArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, scale)) = text.split_once(':') else {
            return Ok(Self(LoraRequest { path: text.to_owned(), scale: None }));
        };
        let scale: f64 = scale.parse().map_err(|_| format!("{scale} is no number"))?;
        // JSON has no word for what is not finite.
        if !scale.is_finite() {
            return Err(format!("{scale} is no finite number"));
        }
        Ok(Self(LoraRequest { path: path.to_owned(), scale: Some(scale) }))
    }
}
