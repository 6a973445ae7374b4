//! The inputs of `glimpse generate`: pictures, and the names of LoRAs and ControlNets.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use glimpse_shared::request::{
    ControlNetRequest, EmbeddingRequest, InputImage, LoraRequest, MAX_INPUT_IMAGE_BYTES,
};

use super::failure::Failure;

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

/// A finite number: JSON cannot represent others.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Takes each `:MEMBER=NUMBER` from the end of a text. Returns what is before them, and the numbers of these members.
///
/// # Errors
/// Names the member if it is not one of these, is there twice, or is not a number.
fn members<'a, const N: usize>(
    mut text: &'a str,
    names: [&str; N],
) -> Result<(&'a str, [Option<f64>; N]), String> {
    let mut numbers = [None; N];
    // The rest may have colons and equals signs of its own: those of a path or a URL.
    let last = |text: &'a str| {
        let (before, last) = text.rsplit_once(':')?;
        let (name, number) = last.split_once('=')?;
        Some((before, name, number))
    };
    while let Some((before, name, number)) = last(text) {
        let number = finite(number);
        let Some(at) = names.iter().position(|known| *known == name) else {
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if number.is_some() && is_name {
                return Err(format!("{name} is none of the members {}", names.join(", ")));
            }
            break;
        };
        let number = number.ok_or_else(|| format!("{name} should be a finite number"))?;
        if numbers[at].replace(number).is_some() {
            return Err(format!("{name} is there twice"));
        }
        text = before;
    }
    Ok((text, numbers))
}

/// Parses `NAME[:SCALE][:MEMBER=NUMBER]…`. The name of a file contains no colon.
#[derive(Debug, Clone)]
pub struct LoraArg(pub LoraRequest);

impl FromStr for LoraArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, [unet_scale, text_scale]) = members(text, ["unet_scale", "text_scale"])?;
        let split = if text.contains("://") {
            // What follows the last `:` may be a part of the URL.
            text.rsplit_once(':').filter(|(_, scale)| scale.parse::<f64>().is_ok())
        } else {
            text.split_once(':')
        };
        let (path, scale) = split.map_or((text, None), |(path, scale)| (path, Some(scale)));
        let scale = scale.map(|scale| finite(scale).ok_or_else(|| format!("{scale} is not a finite number")));
        Ok(Self(LoraRequest { path: path.to_owned(), scale: scale.transpose()?, unet_scale, text_scale }))
    }
}

/// Parses `NAME=[modeN:][canny:]PICTURE[:SCALE][:MEMBER=NUMBER]…`. What follows the last colon before the members is a scale
/// if it is a number.
#[derive(Debug, Clone)]
pub struct ControlNetArg {
    picture: PathBuf,
    /// The ControlNet without its picture.
    request: ControlNetRequest,
}

impl FromStr for ControlNetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "should be NAME=PICTURE, NAME=canny:PICTURE or NAME=mode3:PICTURE, and after it :SCALE, :start=0.2, :end=0.8, \
                            :low_threshold=100 or :high_threshold=200 where they are wanted";
        let (name, rest) = text.split_once('=').ok_or(FORM)?;
        let names = ["start", "end", "low_threshold", "high_threshold"];
        let (rest, [start, end, low_threshold, high_threshold]) = members(rest, names)?;
        let numbered = rest.strip_prefix("mode").and_then(|rest| {
            let (number, rest) = rest.split_once(':')?;
            Some((number.parse().ok()?, rest))
        });
        let (mode, rest) = numbered.map_or((None, rest), |(mode, rest)| (Some(mode), rest));
        let (rest, canny) = rest.strip_prefix("canny:").map_or((rest, false), |rest| (rest, true));
        let scaled = rest.rsplit_once(':').and_then(|(picture, scale)| Some((picture, finite(scale)?)));
        let (picture, scale) = scaled.map_or((rest, None), |(picture, scale)| (picture, Some(scale)));
        if name.is_empty() || picture.is_empty() {
            return Err(FORM.to_owned());
        }
        let request = ControlNetRequest {
            path: name.to_owned(),
            scale,
            mode,
            start,
            end,
            preprocess: canny.then(|| "canny".to_owned()),
            low_threshold,
            high_threshold,
            ..ControlNetRequest::default()
        };
        Ok(Self { picture: picture.into(), request })
    }
}

impl ControlNetArg {
    /// The ControlNet with its picture.
    ///
    /// # Errors
    /// As [`picture`].
    pub fn read(self) -> Result<ControlNetRequest, Failure> {
        Ok(ControlNetRequest { image: picture("controlnet", &self.picture)?, ..self.request })
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
            let ControlNetArg { picture, request } = text.parse().unwrap();
            let ControlNetRequest { path, scale, mode, preprocess, .. } = request;
            let found = (&path[..], picture.to_str().unwrap(), scale, mode, preprocess.is_some());
            assert_eq!(found, expected, "{text}");
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

    #[test]
    fn members_follow_a_lora_and_a_controlnet() {
        let lora = |path: &str, scale, unet_scale, text_scale| {
            Ok(LoraRequest { path: path.to_owned(), scale, unet_scale, text_scale })
        };
        let url = "https://example.com:8080/ink?token=x";
        for (text, expected) in [
            ("ink", lora("ink", None, None, None)),
            ("ink:0.5", lora("ink", Some(0.5), None, None)),
            ("ink:0.5:text_scale=0:unet_scale=-1", lora("ink", Some(0.5), Some(-1.0), Some(0.0))),
            ("ink:unet_scale=2", lora("ink", None, Some(2.0), None)),
            (url, lora(url, None, None, None)),
            (&format!("{url}:0.5:unet_scale=2"), lora(url, Some(0.5), Some(2.0), None)),
            ("ink:start=1", Err("start is none of the members unet_scale, text_scale".to_owned())),
            ("ink:unet_scale=NaN", Err("unet_scale should be a finite number".to_owned())),
            ("ink:unet_scale=1:unet_scale=2", Err("unet_scale is there twice".to_owned())),
            ("ink:x", Err("x is not a finite number".to_owned())),
        ] {
            assert_eq!(text.parse().map(|LoraArg(lora)| lora), expected, "{text}");
        }
        let edges = ControlNetRequest { path: "xinsir/canny".to_owned(), ..ControlNetRequest::default() };
        let canny = || Some("canny".to_owned());
        for (text, picture, expected) in [
            ("xinsir/canny=a.png", "a.png", edges.clone()),
            (
                "xinsir/canny=a=b:c.png:0.5",
                "a=b:c.png",
                ControlNetRequest { scale: Some(0.5), ..edges.clone() },
            ),
            (
                "xinsir/canny=canny:a.png:0.5:low_threshold=50:end=0.5",
                "a.png",
                ControlNetRequest {
                    scale: Some(0.5),
                    end: Some(0.5),
                    low_threshold: Some(50.0),
                    preprocess: canny(),
                    ..edges.clone()
                },
            ),
            (
                "xinsir/canny=a.png:start=0.2:high_threshold=300",
                "a.png",
                ControlNetRequest { start: Some(0.2), high_threshold: Some(300.0), ..edges },
            ),
        ] {
            let arg: ControlNetArg = text.parse().unwrap();
            assert_eq!((arg.picture, arg.request), (picture.into(), expected), "{text}");
        }
        for text in ["edges", "=a.png", "edges=", "edges=canny:"] {
            assert!(text.parse::<ControlNetArg>().unwrap_err().contains("NAME=canny:PICTURE"), "{text}");
        }
        assert!("edges=a.png:begin=0".parse::<ControlNetArg>().unwrap_err().contains("start, end"));
    }
}
