//! Finds the end of the last scan of a picture without an end marker.

use super::{frame::Frame, segments::Segments, tables::Tables};

/// The maximum of scans in a picture. Decoders have similar limits: a scan of a few bytes may cover the whole picture.
const MOST_SCANS: usize = 100;

/// The end of the last scan of a picture of the given width and height; `None` if a coefficient is missing, or if our
/// decoder does not support its kind.
pub(super) fn end(file: &[u8], size: [usize; 2]) -> Option<usize> {
    let mut segments = Segments::new(file);
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut scans = 0;
    loop {
        let segment = segments.next()?;
        match segment.kind {
            0xC0..=0xC2 if frame.is_none() => {
                frame = Some(Frame::new(segment.kind == 0xC2, segment.data, size)?);
            }
            0xC4 => tables.read_huffman(segment.data)?,
            0xDD => tables.read_restarts(segment.data)?,
            0xDA if scans < MOST_SCANS => {
                scans += 1;
                let frame = frame.as_mut()?;
                segments.at = frame.scan(segment.data, &tables, file, segment.next)?;
                if frame.is_whole() {
                    return Some(segments.at);
                }
            }
            // A second frame, one of another kind, another picture or too many scans.
            0xC0..=0xCF | 0xD8..=0xDA => return None,
            _ => {}
        }
    }
}
