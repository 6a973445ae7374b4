//! Which part of a file a request wants, by RFC 9110. tower-http's `ServeFile` serves one part, but knows no `If-Range`, and
//! refuses what the RFC ignores: other units, several parts, and parts that end before they begin.

use axum::http::{HeaderMap, HeaderValue, header};

/// The part of a file that a request wants, as the `Range` header that `ServeFile` reads; `None` for the whole file.
/// `whole` are the headers of the answer with the whole file.
pub(super) fn wanted(request: &HeaderMap, whole: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = request.get_all(header::RANGE).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let size = whole.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    let part = part(line.to_str().ok()?, size).filter(|_| is_current(request, whole))?;
    HeaderValue::try_from(format!("bytes={part}")).ok()
}

/// Whether the file is the one that the client has a part of: `If-Range` is a strong `ETag` or a date.
fn is_current(request: &HeaderMap, whole: &HeaderMap) -> bool {
    let Some(known) = request.get(header::IF_RANGE) else { return true };
    // Ours are strong, so a weak one is another one.
    [header::ETAG, header::LAST_MODIFIED].iter().any(|name| whole.get(name) == Some(known))
}

/// The one part of a `Range` header, for a file of `size` bytes; `None` if the header is ignored.
fn part(line: &str, size: u64) -> Option<String> {
    let (unit, parts) = line.split_once('=')?;
    let (part, false) = (parts.trim(), parts.contains(',')) else { return None };
    let (first, last) = part.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    match (number(first), number(last)) {
        // The last bytes: of a shorter file, all.
        (None, Some(length)) if first.is_empty() => Some(match length {
            length if length >= size && size > 0 => "0-".to_owned(),
            length => format!("-{length}"),
        }),
        (Some(first), None) if last.is_empty() => Some(format!("{first}-")),
        (Some(first), Some(last)) if first <= last => Some(match last < size {
            true => format!("{first}-{last}"),
            false => format!("{first}-"),
        }),
        _ => None,
    }
}

/// A number of any length: one that is too large is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_read_and_what_the_rfc_ignores_is_ignored() {
        for (line, expected) in [
            ("bytes=0-2", Some("0-2")),
            ("Bytes= 0-2", Some("0-2")),
            ("bytes=4-", Some("4-")),
            ("bytes=-7", Some("-7")),
            ("bytes=-0", Some("-0")),
            ("bytes=-100", Some("0-")),
            ("bytes=0-99999999999999999999999", Some("0-")),
            ("bytes=99999999999999999999999-", Some("18446744073709551615-")),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=0-1,", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=1-2-3", None),
            ("pages=0-2", None),
            ("bytes", None),
        ] {
            assert_eq!(part(line, 22).as_deref(), expected, "{line}");
        }
    }
}
