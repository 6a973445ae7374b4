//! The chunks of a PNG file (PNG specification, 3rd edition, section 5).

use bytes::Bytes;

const SIGNATURE_BYTES: usize = 8;
/// Length and type before a chunk's data, and the checksum after it.
const AROUND: usize = 8 + 4;
/// The chunk that ends the file.
const END: &[u8; AROUND] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The file with an end chunk: a file that lacks only this chunk, or a part of it, has all its pixels. Any other file is
/// returned as it is, and the decoder decides.
pub(super) fn whole(bytes: Bytes) -> Bytes {
    let mut at = SIGNATURE_BYTES;
    while let Some(chunk) = bytes.get(at..).filter(|rest| rest.len() >= AROUND) {
        if &chunk[4..8] == b"IEND" {
            return bytes;
        }
        let length = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) as usize;
        at = at.saturating_add(AROUND).saturating_add(length);
    }
    match bytes.get(at..) {
        Some(rest) if END.starts_with(rest) => [&bytes[..at], END].concat().into(),
        _ => bytes,
    }
}
