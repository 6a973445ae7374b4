//! Checks the sizes in a WebP file, because the decoder allocates memory by them.

/// Reads the chunks as the decoder does. Returns whether every chunk that it may read is inside the file, and whether
/// the compressed data has the size in the header around it.
pub(super) fn is_consistent(file: &[u8]) -> bool {
    let Some(Chunk { kind: b"VP8X", data, next }) = chunk(file, 12) else {
        // Without an extended header there is only one size.
        return true;
    };
    let Some(canvas) = sides(data, 4) else { return false };
    let mut at = next;
    while let Some(Chunk { kind, data, next }) = chunk(file, at) {
        let consistent = match kind {
            b"VP8 " | b"VP8L" => bits(kind, data) == Some(canvas),
            b"ANMF" => is_frame(file, at + HEADER, canvas) && data.is_some(),
            b"EXIF" | b"ICCP" | b"XMP " | b"ALPH" | b"ANIM" => data.is_some(),
            // The decoder does not read it.
            _ => true,
        };
        if !consistent {
            return false;
        }
        at = next;
    }
    true
}

/// Bytes of a chunk's header: its kind and its length.
const HEADER: usize = 8;
/// Bytes of a frame's own header.
const FRAME: usize = 16;

struct Chunk<'a> {
    kind: &'a [u8; 4],
    /// `None` if the file ends inside the chunk.
    data: Option<&'a [u8]>,
    /// The offset of the next one.
    next: usize,
}

fn chunk(file: &[u8], at: usize) -> Option<Chunk<'_>> {
    let (kind, rest) = file.get(at..)?.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let next = at.checked_add(HEADER)?.checked_add(length)?.checked_add(length % 2)?;
    Some(Chunk { kind, data: rest.get(..length), next })
}

/// Reads width and height: 24 bits each, stored minus one.
fn sides(data: Option<&[u8]>, at: usize) -> Option<[u32; 2]> {
    let six = data?.get(at..)?.first_chunk::<6>()?;
    let [a, b, c, d, e, f] = six.map(u32::from);
    Some([1 + (a | b << 8 | c << 16), 1 + (d | e << 8 | f << 16)])
}

/// The size at the beginning of the compressed data.
fn bits(kind: &[u8; 4], data: Option<&[u8]>) -> Option<[u32; 2]> {
    let data = data?;
    match kind {
        b"VP8 " => {
            let [a, b, c, d] = *data.get(6..)?.first_chunk::<4>()?;
            Some([[a, b], [c, d]].map(|side| u32::from(u16::from_le_bytes(side) & 0x3FFF)))
        }
        _ => {
            let both = u32::from_le_bytes(*data.get(1..)?.first_chunk::<4>()?);
            Some([both, both >> 14].map(|side| 1 + (side & 0x3FFF)))
        }
    }
}

/// Checks a frame of an animation; its header begins at `at`.
fn is_frame(file: &[u8], at: usize, canvas: [u32; 2]) -> bool {
    let Some(size) = sides(file.get(at..), 6) else { return false };
    if size[0] > canvas[0] || size[1] > canvas[1] {
        return false;
    }
    // The alpha channel may be before the picture.
    let mut at = at + FRAME;
    for _ in 0..2 {
        let Some(Chunk { kind, data, next }) = chunk(file, at) else { break };
        let consistent = match kind {
            b"VP8 " | b"VP8L" => return bits(kind, data) == Some(size),
            _ => data.is_some(),
        };
        if !consistent {
            return false;
        }
        at = next;
    }
    true
}
