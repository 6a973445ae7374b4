//! The text of a recipe as Exif's `UserComment`: where a JPEG or a WebP has what a PNG has as `parameters`.

use std::io::Cursor;

use exif::{Field, In, Reader, Tag, Value, experimental::Writer};

/// The code of the text that follows: UTF-16, which all readers take as big-endian.
const UNICODE: &[u8; 8] = b"UNICODE\0";
const ASCII: &[u8; 8] = b"ASCII\0\0\0";
const UNDEFINED: &[u8; 8] = &[0; 8];

/// The Exif block with a text; `None` if it cannot be written.
pub(super) fn write(text: &str) -> Option<Vec<u8>> {
    let mut comment = UNICODE.to_vec();
    comment.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
    let field = Field { tag: Tag::UserComment, ifd_num: In::PRIMARY, value: Value::Undefined(comment, 0) };
    let mut writer = Writer::new();
    writer.push_field(&field);
    let mut block = Cursor::new(Vec::new());
    writer.write(&mut block, false).ok()?;
    Some(block.into_inner())
}

/// The comment in an Exif block; `None` if it has none, or not one that is text.
pub(super) fn read(block: Vec<u8>) -> Option<String> {
    let exif = Reader::new().read_raw(block).ok()?;
    let Value::Undefined(comment, _) = &exif.get_field(Tag::UserComment, In::PRIMARY)?.value else {
        return None;
    };
    let (code, text) = comment.split_first_chunk::<8>()?;
    match code {
        UNICODE => utf16(text),
        ASCII | UNDEFINED => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    }
}

/// Some programs write UTF-16 in the order of the block's numbers, not big-endian.
fn utf16(text: &[u8]) -> Option<String> {
    let zeros = |odd: usize| text.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let is_little = match text {
        [0xff, 0xfe, ..] => true,
        [0xfe, 0xff, ..] => false,
        _ => zeros(1) > zeros(0),
    };
    let order = if is_little { u16::from_le_bytes } else { u16::from_be_bytes };
    let (pairs, _) = text.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| order(*pair)).collect();
    let text = String::from_utf16(&units).ok()?;
    Some(text.trim_start_matches('\u{feff}').trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_again() {
        for text in ["a fox\nSteps: 1", "ein Füchslein, 狐 🦊", ""] {
            assert_eq!(read(write(text).unwrap()).as_deref(), Some(text));
        }
        assert_eq!(utf16(b"a\0 \0f\0").as_deref(), Some("a f"));
        assert_eq!(utf16(b"\xff\xfea\0").as_deref(), Some("a"));
        assert_eq!(utf16(b"\xd8\0\0a"), None);
        assert_eq!(read(Vec::new()), None);
    }
}
