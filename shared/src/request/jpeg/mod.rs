//! Checks whether a JPEG's file is complete. Decoders fill up the missing part of a truncated one without an error.

mod entropy;
mod frame;
mod scans;
mod tables;

use bytes::Bytes;

/// Marks the end of the picture.
const END: u8 = 0xD9;
/// Marks its beginning.
const START: u8 = 0xD8;

/// A picture of the given width and height with an end marker: unchanged if it has one, otherwise with one in place of
/// the bytes after its last scan. `None` for a truncated picture.
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

/// A marker, and what belongs to it.
struct Segment<'a> {
    kind: u8,
    /// Empty for [`START`] and [`END`].
    data: &'a [u8],
    /// The offset behind it.
    next: usize,
}

/// Walks from marker to marker. Any bytes may be between two of them: a scan's data, in which 0xFF is followed by 0 or
/// by the number of a restart, or bytes that some programs leave there.
struct Segments<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn new(file: &'a [u8]) -> Self {
        // 0xFFD8 starts the picture.
        Self { file, at: 2 }
    }

    /// The next one; `None` if the file ends within it or before it.
    fn next(&mut self) -> Option<Segment<'a>> {
        let rest = self.file.get(self.at..)?;
        let marker = self.at + rest.windows(2).position(|pair| pair[0] == 0xFF && !within_scan(pair[1]))?;
        let (kind, rest) = self.file.get(marker + 1..)?.split_first()?;
        if matches!(*kind, START | END) {
            self.at = marker + 2;
            return Some(Segment { kind: *kind, data: &[], next: self.at });
        }
        // The length counts its own two bytes.
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        let data = rest.get(..length)?.get(2..).unwrap_or_default();
        self.at = marker + 2 + length;
        Some(Segment { kind: *kind, data, next: self.at })
    }
}

/// What may follow 0xFF without ending a scan: an escaped 0xFF, a restart, and a filling 0xFF.
fn within_scan(byte: u8) -> bool {
    matches!(byte, 0x00 | 0xD0..=0xD7 | 0xFF)
}
