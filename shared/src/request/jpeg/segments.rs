//! The markers of a JPEG's file.

/// Marks the end of the picture.
pub(super) const END: u8 = 0xD9;
/// Marks its beginning.
pub(super) const START: u8 = 0xD8;

/// A marker and its data.
pub(super) struct Segment<'a> {
    pub(super) kind: u8,
    /// Empty for [`START`] and [`END`].
    pub(super) data: &'a [u8],
    /// The offset after it.
    pub(super) next: usize,
}

/// Iterates over the markers. Other bytes may be between two markers: a scan's data, in which 0xFF is followed by 0 or
/// a restart number, or bytes of other programs.
pub(super) struct Segments<'a> {
    file: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        // 0xFFD8 starts the picture.
        Self { file, at: 2 }
    }

    /// The next one; `None` if the file ends within it or before it.
    pub(super) fn next(&mut self) -> Option<Segment<'a>> {
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

/// Whether a byte after 0xFF does not end a scan: an escaped 0xFF, a restart, or a padding 0xFF.
fn within_scan(byte: u8) -> bool {
    matches!(byte, 0x00 | 0xD0..=0xD7 | 0xFF)
}
