//! What `glimpse generate` reads beside its words: pictures, and the names of LoRAs.

use std::{path::Path, str::FromStr};

use glimpse_shared::request::{InputImage, LoraRequest};

use super::Failure;

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
