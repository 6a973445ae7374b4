//! Reads the bytes of a data URI. Its media type is ignored, because the bytes decide the format.

use std::borrow::Cow;

use data_url::{DataUrl, forgiving_base64::DecodeError};
use percent_encoding::percent_decode_str;

/// The maximum length of the part before the comma: a longer one may take much memory and time to parse.
const LONGEST_HEAD: usize = 1024;

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoBytes {
    /// It is not a data URI.
    NoUri,
    /// Its base64 is invalid.
    NoBase64,
    /// It has too many bytes.
    TooMany,
}

/// The data of a data URI.
#[derive(Debug)]
pub(super) struct Content {
    /// Decoded.
    pub(super) bytes: Vec<u8>,
    /// Whether it was in base64.
    pub(super) was_base64: bool,
}

/// Reads a data URI as browsers do: base64 with or without padding and line breaks, percent-encoded, or both. Unlike
/// browsers it also reads the URL-safe alphabet, and a head that is only `base64`. At most `most` bytes are kept.
pub(super) fn content(uri: &str, most: usize) -> Result<Content, NoBytes> {
    let comma = uri.bytes().take(LONGEST_HEAD).position(|byte| byte == b',').ok_or(NoBytes::NoUri)?;
    let (head, data) = uri.split_at(comma);
    let last = head.rsplit([';', ':']).next().unwrap_or(head);
    let was_base64 = last.trim().eq_ignore_ascii_case("base64");
    if was_base64 && data.contains('#') {
        // A browser ignores the part after #, so the picture would be truncated silently.
        return Err(NoBytes::NoBase64);
    }
    let is_usual = head.contains(';') && !data.contains(['-', '_', '%']);
    let uri = if was_base64 && !is_usual { Cow::Owned(usual(head, data)?) } else { Cow::Borrowed(uri) };
    Ok(Content { bytes: decoded(&uri, most)?, was_base64 })
}

/// The same data URI in standard base64 without percent-encoding, with `;base64` in its head.
fn usual(head: &str, data: &str) -> Result<String, NoBytes> {
    let (scheme, _) = head.split_once(':').ok_or(NoBytes::NoUri)?;
    let data = percent_decode_str(data).decode_utf8().map_err(|_| NoBytes::NoBase64)?;
    if data.contains(['#', '%']) {
        return Err(NoBytes::NoBase64);
    }
    let mut uri = String::with_capacity(head.len() + data.len());
    uri.extend([scheme, ":;base64"]);
    uri.extend(data.chars().map(|char| match char {
        '-' => '+',
        '_' => '/',
        other => other,
    }));
    Ok(uri)
}

fn decoded(uri: &str, most: usize) -> Result<Vec<u8>, NoBytes> {
    let parsed = DataUrl::process(uri).map_err(|_| NoBytes::NoUri)?;
    // Enough for base64, and for most other texts.
    let mut bytes = Vec::with_capacity((uri.len() / 4 * 3).min(most));
    let keep = |part: &[u8]| {
        if part.len() > most - bytes.len() {
            return Err(NoBytes::TooMany);
        }
        bytes.extend_from_slice(part);
        Ok(())
    };
    match parsed.decode(keep) {
        Ok(_) => Ok(bytes),
        Err(DecodeError::InvalidBase64(_)) => Err(NoBytes::NoBase64),
        Err(DecodeError::WriteError(error)) => Err(error),
    }
}
