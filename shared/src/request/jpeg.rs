//! Whether a JPEG's file is all there. Decoders make the best of one that is cut, and nobody would be told.

/// Walks from segment to segment: whether the end of the picture comes before the end of the file. What follows
/// the end (phones put films there) is not looked at.
pub(super) fn is_whole(file: &[u8]) -> bool {
    // 0xFFD8 begins the picture.
    let Some(mut rest) = file.strip_prefix(&[0xFF, 0xD8]) else { return false };
    loop {
        // Between segments any number of 0xFF may fill up; before a marker within a scan lies the scan's data, in
        // which 0xFF is followed by 0 or by the number of a restart.
        let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xFF && !within_scan(pair[1])) else {
            return false;
        };
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        if marker == END {
            return true;
        }
        let [high, low, ..] = rest else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(after) = rest.get(length..) else { return false };
        rest = after;
    }
}

const END: u8 = 0xD9;

/// What may follow 0xFF without ending a scan: an escaped 0xFF, a restart, and a filling 0xFF.
fn within_scan(byte: u8) -> bool {
    matches!(byte, 0x00 | 0xD0..=0xD7 | 0xFF)
}
