//! The inputs of `glimpse generate`: the prompt, pictures, and the names of LoRAs and ControlNets.

use std::{
    fs::File,
    io::{Read, stdin},
    path::{Path, PathBuf},
    str::FromStr,
};

use glimpse_shared::request::{
    ControlNetRequest, EmbeddingRequest, InputImage, LoraRequest, MAX_INPUT_IMAGE_BYTES,
};

use super::failure::Failure;

/// In the place of the prompt: read it from standard input.
const STANDARD_INPUT: &str = "-";
/// The limit for a prompt from standard input in bytes, larger than the longest valid prompt.
const MOST_BYTES: u64 = 64 * 1024;

/// The given prompt; for `-` the text from standard input without its last line end.
///
/// # Errors
/// If standard input cannot be read, is empty, too long, or not UTF-8.
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
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(text.to_owned())
}

/// A picture's file as a data URI. Its format is checked here; the request's validation decodes it.
///
/// # Errors
/// Names the flag if the file cannot be read or is not a picture.
pub fn picture(flag: &str, path: &Path) -> Result<String, Failure> {
    let wrong = |error: String| Failure::BadInput(format!("--{flag} {}: {error}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than allowed: then it is refused as too large.
    let most = MAX_INPUT_IMAGE_BYTES as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| wrong(error.to_string()))?;
    let image = InputImage::new(bytes.into()).map_err(|error| wrong(error.to_string()))?;
    Ok(image.to_data_uri())
}

/// Parses `NAME[:SCALE]`. The name of a file contains no colon.
#[derive(Debug, Clone)]
pub struct LoraArg(pub LoraRequest);

impl FromStr for LoraArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = if text.contains("://") {
            // What follows the last `:` may be a part of the URL.
            text.rsplit_once(':').filter(|(_, scale)| scale.parse::<f64>().is_ok())
        } else {
            text.split_once(':')
        };
        let Some((path, scale)) = split else {
            return Ok(Self(LoraRequest { path: text.to_owned(), scale: None }));
        };
        let scale: f64 = scale.parse().map_err(|_| format!("{scale} is not a number"))?;
        // JSON cannot represent NaN and infinities.
        if !scale.is_finite() {
            return Err(format!("{scale} is not a finite number"));
        }
        Ok(Self(LoraRequest { path: path.to_owned(), scale: Some(scale) }))
    }
}

/// Parses `NAME=[modeN:][canny:]PICTURE[:SCALE]`. What follows the last colon is a scale if it is a number.
#[derive(Debug, Clone)]
pub struct ControlNetArg {
    name: String,
    picture: PathBuf,
    scale: Option<f64>,
    mode: Option<i64>,
    canny: bool,
}

impl FromStr for ControlNetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("should be NAME=PICTURE or NAME=PICTURE:SCALE")?;
        let numbered = rest.strip_prefix("mode").and_then(|rest| {
            let (number, rest) = rest.split_once(':')?;
            Some((number.parse().ok()?, rest))
        });
        let (mode, rest) = numbered.map_or((None, rest), |(mode, rest)| (Some(mode), rest));
        let (rest, canny) = rest.strip_prefix("canny:").map_or((rest, false), |rest| (rest, true));
        let scaled = rest.rsplit_once(':').and_then(|(picture, scale)| {
            let scale = scale.parse().ok().filter(|scale: &f64| scale.is_finite())?;
            Some((picture, scale))
        });
        let (picture, scale) = scaled.map_or((rest, None), |(picture, scale)| (picture, Some(scale)));
        if name.is_empty() || picture.is_empty() {
            return Err("should be NAME=PICTURE or NAME=PICTURE:SCALE".to_owned());
        }
        Ok(Self { name: name.to_owned(), picture: picture.into(), scale, mode, canny })
    }
}

impl ControlNetArg {
    /// The ControlNet with its picture.
    ///
    /// # Errors
    /// As [`picture`].
    pub fn read(self) -> Result<ControlNetRequest, Failure> {
        Ok(ControlNetRequest {
            path: self.name,
            image: picture("controlnet", &self.picture)?,
            scale: self.scale,
            mode: self.mode,
            preprocess: self.canny.then(|| "canny".to_owned()),
            ..ControlNetRequest::default()
        })
    }
}

/// Parses `NAME[=WORD]`. What follows a `?` belongs to the URL.
#[derive(Debug, Clone)]
pub struct EmbeddingArg(pub EmbeddingRequest);

impl FromStr for EmbeddingArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = match text.contains("://") && text.contains('?') {
            true => None,
            false => text.split_once('='),
        };
        let (path, token) = match split {
            Some((path, token)) => (path, Some(token.to_owned())),
            None => (text, None),
        };
        Ok(Self(EmbeddingRequest { path: path.to_owned(), token }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controlnet_may_have_a_mode_edges_and_a_scale() {
        for (text, expected) in [
            ("net=x.png", ("net", "x.png", None, None, false)),
            ("a/b=mode3:canny:x.png:0.5", ("a/b", "x.png", Some(0.5), Some(3), true)),
            ("net=mode:x.png", ("net", "mode:x.png", None, None, false)),
            ("net=mode1:modes.png", ("net", "modes.png", None, Some(1), false)),
        ] {
            let ControlNetArg { name, picture, scale, mode, canny } = text.parse().unwrap();
            assert_eq!((&name[..], picture.to_str().unwrap(), scale, mode, canny), expected, "{text}");
        }
    }

    #[test]
    fn an_embedding_has_a_word_after_an_equals_sign() {
        for (text, path, token) in [
            ("ink", "ink", None),
            ("styles/ink=<my ink>", "styles/ink", Some("<my ink>")),
            ("ink=a=b", "ink", Some("a=b")),
            ("hf://owner/name=ink", "hf://owner/name", Some("ink")),
            ("https://example.com/ink?token=x", "https://example.com/ink?token=x", None),
        ] {
            let EmbeddingArg(embedding) = text.parse().unwrap();
            assert_eq!((&embedding.path[..], embedding.token.as_deref()), (path, token), "{text}");
        }
    }
}
