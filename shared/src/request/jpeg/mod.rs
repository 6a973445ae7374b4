//! Checks whether a JPEG file is complete. Decoders fill the missing part of a truncated file without an error.

mod entropy;
mod frame;
mod scans;
mod segments;
mod tables;

use bytes::Bytes;

use segments::{END, START, Segments};

/// A complete picture with an end marker. If the marker is missing, it replaces the bytes after the last scan. `size`
/// is width and height. `None` for a truncated picture.
pub(super) fn whole(file: Bytes, size: [usize; 2]) -> Option<Bytes> {
    if has_end(&file) {
        return Some(file);
    }
    let end = scans::end(&file, size)?;
    Some([&file[..end], &[0xFF, END]].concat().into())
}

/// Whether the picture is coded in a way that our decoder does not support: arithmetic, lossless, hierarchical, or with
/// more than 8 bits.
pub(super) fn is_rare(file: &[u8]) -> bool {
    let mut segments = Segments::new(file);
    while let Some(segment) = segments.next() {
        match segment.kind {
            0xC0..=0xC2 => return segment.data.first() != Some(&8),
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return true,
            START | END => return false,
            _ => {}
        }
    }
    false
}

/// Whether the file has the picture's end marker. Data after the marker (phones append videos) is ignored.
fn has_end(file: &[u8]) -> bool {
    let mut segments = Segments::new(file);
    while let Some(segment) = segments.next() {
        match segment.kind {
            END => return true,
            // Another picture begins before this one has ended.
            START => return false,
            _ => {}
        }
    }
    false
}
