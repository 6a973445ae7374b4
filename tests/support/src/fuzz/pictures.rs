//! Invalid pictures, and pictures with wrong sizes.

use std::{io::Cursor, sync::LazyLock};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, Encoder};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::bytes::{Damage, damages};

/// A picture of each kind that decoders treat differently, all of 48 x 32 pixels except the lossy WebP.
static WHOLE: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(|| {
    let pixel = |x: u32, y: u32| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (x * y) as u8]);
    let rgb = DynamicImage::from(RgbImage::from_fn(48, 32, pixel));
    let rgba = RgbaImage::from_fn(48, 32, |x, y| {
        let Rgb([r, g, b]) = pixel(x, y);
        Rgba([r, g, b, (x + y) as u8])
    });
    let rgba = DynamicImage::from(rgba);
    let file = |image: &DynamicImage, format| {
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, format).expect("encodes");
        file.into_inner()
    };
    vec![
        ("png", file(&rgb, ImageFormat::Png)),
        ("png", file(&rgba.to_rgba16().into(), ImageFormat::Png)),
        ("png", file(&rgb.to_luma8().into(), ImageFormat::Png)),
        ("jpeg", file(&rgb, ImageFormat::Jpeg)),
        ("jpeg", file(&rgb.to_luma8().into(), ImageFormat::Jpeg)),
        ("jpeg", jpeg(rgb.as_bytes(), ColorType::Rgb)),
        ("jpeg", jpeg(rgba.as_bytes(), ColorType::Cmyk)),
        ("webp", file(&rgb, ImageFormat::WebP)),
        ("webp", file(&rgba, ImageFormat::WebP)),
        ("webp", LOSSY.to_vec()),
        ("webp", extended(&file(&rgba, ImageFormat::WebP), (48, 32), false)),
        ("webp", extended(&file(&rgba, ImageFormat::WebP), (48, 32), true)),
        ("webp", extended(LOSSY, (1, 1), false)),
        ("webp", extended(LOSSY, (1, 1), true)),
    ]
});

/// One black pixel.
const LOSSY: &[u8] =
    b"RIFF\x22\0\0\0WEBPVP8 \x16\0\0\0\x30\x01\0\x9d\x01\x2a\x01\0\x01\0\x0e\xc0\xfe\x25\xa4\0\
                       \x03\x70\0\0\0\0";

/// A progressive JPEG.
fn jpeg(pixels: &[u8], color: ColorType) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 80);
    encoder.set_progressive(true);
    encoder.encode(pixels, 48, 32, color).expect("encodes");
    file
}

/// A WebP with an extended header, Exif and a colour profile, still or animated.
fn extended(simple: &[u8], (width, height): (u32, u32), moves: bool) -> Vec<u8> {
    let [w, h] = [width - 1, height - 1].map(|side| side.to_le_bytes());
    let flags = 0x28 | if moves { 0x02 } else { 0 };
    let header = [&[flags, 0, 0, 0][..], &w[..3], &h[..3]].concat();
    let bits = &simple[12..];
    let mut chunks = chunk(b"VP8X", &header);
    chunks.extend(chunk(b"ICCP", b"no profile"));
    if moves {
        chunks.extend(chunk(b"ANIM", &[0, 0, 0, 0, 0, 0]));
        let frame = [&[0; 6][..], &w[..3], &h[..3], &[1, 0, 0, 0], bits].concat();
        chunks.extend(chunk(b"ANMF", &frame));
        chunks.extend(chunk(b"ANMF", &frame));
    } else {
        chunks.extend(bits);
    }
    chunks.extend(chunk(b"EXIF", TURNED));
    [&b"RIFF"[..], &(chunks.len() as u32 + 4).to_le_bytes(), b"WEBP", &chunks].concat()
}

/// A chunk of RIFF.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let padding = &[0][..data.len() % 2];
    [&name[..], &(data.len() as u32).to_le_bytes(), data, padding].concat()
}

/// Exif with one entry: rotate by 90 degrees.
const TURNED: &[u8] = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

/// A damage to a picture.
#[derive(Debug, Clone)]
pub struct Broken {
    which: Index,
    chunks: Vec<ChunkChange>,
    damages: Vec<Damage>,
}

/// A change of a PNG's or a WebP's chunks, or of a JPEG's segments. Checksums and lengths around it stay right.
#[derive(Debug, Clone)]
enum ChunkChange {
    /// Changes the contents of one.
    Within(Index, Vec<Damage>),
    /// Changes the stated size: four bytes at the place where the format has it.
    Sides(u32, u32),
    /// Removes one.
    Drop(Index),
    /// Repeats one.
    Twice(Index),
    /// Changes the kind of one: an index into the kinds that decoders read.
    Insert(Index, usize, Vec<u8>),
}

/// Kinds of chunks and segments that do not hold the picture itself.
const PNG: [&[u8; 4]; 10] =
    [b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"tRNS", b"PLTE", b"IDAT"];
const RIFF: [&[u8; 4]; 8] = [b"EXIF", b"ICCP", b"XMP ", b"ALPH", b"ANIM", b"ANMF", b"VP8 ", b"VP8L"];
const JPEG: [u8; 10] = [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xC0, 0xC2, 0xC4, 0xDB, 0xDD];

/// Any.
pub fn broken() -> impl Strategy<Value = Broken> {
    let side =
        || prop_oneof![Just(0), Just(1), Just(8192), Just(8193), Just(16_383), Just(65_535), any::<u32>()];
    let change = prop_oneof![
        3 => (any::<Index>(), damages()).prop_map(|(at, damages)| ChunkChange::Within(at, damages)),
        1 => (side(), side()).prop_map(|(width, height)| ChunkChange::Sides(width, height)),
        1 => any::<Index>().prop_map(ChunkChange::Drop),
        1 => any::<Index>().prop_map(ChunkChange::Twice),
        1 => (any::<Index>(), 0_usize..10, vec(any::<u8>(), 0..60))
            .prop_map(|(at, kind, data)| ChunkChange::Insert(at, kind, data)),
    ];
    let damages = prop_oneof![2 => Just(Vec::new()), 1 => damages()];
    (any::<Index>(), vec(change, 0..4), damages).prop_map(|(which, chunks, damages)| Broken {
        which,
        chunks,
        damages,
    })
}

impl Broken {
    /// The format's name, and the file.
    pub fn file(&self) -> (&'static str, Vec<u8>) {
        let (name, whole) = &WHOLE[self.which.index(WHOLE.len())];
        let mut parts = split(name, whole);
        for change in &self.chunks {
            change.apply(name, &mut parts);
        }
        let mut file = join(name, &parts);
        for damage in &self.damages {
            damage.apply(&mut file);
        }
        (name, file)
    }
}

/// A picture of each kind whose every stated size is changed.
pub fn of_size(width: u32, height: u32) -> Vec<Vec<u8>> {
    let resized = WHOLE.iter().map(|(name, whole)| {
        let mut parts = split(name, whole);
        sides(name, &mut parts, width, height);
        join(name, &parts)
    });
    resized.collect()
}

/// A PNG with Exif that rotates it by 90 degrees.
pub fn turned(png: &[u8]) -> Vec<u8> {
    let mut parts = split("png", png);
    parts.insert(1, (b"eXIf".to_vec(), TURNED.to_vec()));
    join("png", &parts)
}

/// The kind of each part, and its contents. Bytes before the first part are left out; a JPEG's data belongs to the
/// segment before it.
type Part = (Vec<u8>, Vec<u8>);

fn split(name: &str, file: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = match name {
        "png" => &file[8..],
        "webp" => &file[12..],
        _ => &file[2..],
    };
    while rest.len() >= 8 {
        let (kind, length, header, trailer) = match name {
            "png" => (rest[4..8].to_vec(), number(&rest[..4]), 8, 4),
            "webp" => {
                let length = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
                (rest[..4].to_vec(), length, 8, length % 2)
            }
            // The last segment and everything after it count as one.
            _ if rest[1] == 0xDA => (rest[..2].to_vec(), rest.len() - 4, 4, 0),
            _ => (rest[..2].to_vec(), number(&rest[2..4]) - 2, 4, 0),
        };
        parts.push((kind, rest[header..header + length].to_vec()));
        rest = &rest[header + length + trailer..];
    }
    parts
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn join(name: &str, parts: &[Part]) -> Vec<u8> {
    let mut file = match name {
        "png" => b"\x89PNG\r\n\x1a\n".to_vec(),
        "webp" => b"RIFF\0\0\0\0WEBP".to_vec(),
        _ => b"\xff\xd8".to_vec(),
    };
    for (kind, data) in parts {
        match name {
            "png" => {
                let whole = [&kind[..], data].concat();
                file.extend((data.len() as u32).to_be_bytes());
                file.extend(&whole);
                file.extend(crc32(&whole).to_be_bytes());
            }
            "webp" => {
                file.extend(kind);
                file.extend((data.len() as u32).to_le_bytes());
                file.extend(data);
                file.extend(&[0][..data.len() % 2]);
            }
            _ => {
                file.extend(kind);
                let own = if kind[1] == 0xDA { data.len().min(10) } else { data.len() };
                file.extend((own as u16).wrapping_add(2).to_be_bytes());
                file.extend(data);
            }
        }
    }
    if name == "webp" {
        let length = (file.len() as u32 - 8).to_le_bytes();
        file[4..8].copy_from_slice(&length);
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

impl ChunkChange {
    fn apply(&self, name: &str, parts: &mut Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        match self {
            Self::Within(at, damages) => {
                let at = at.index(parts.len());
                damages.iter().for_each(|damage| damage.apply(&mut parts[at].1));
            }
            Self::Sides(width, height) => sides(name, parts, *width, *height),
            Self::Drop(at) => drop(parts.remove(at.index(parts.len()))),
            Self::Twice(at) => {
                let at = at.index(parts.len());
                parts.insert(at, parts[at].clone());
            }
            Self::Insert(at, kind, data) => {
                let kind = match name {
                    "png" => PNG[kind % PNG.len()].to_vec(),
                    "webp" => RIFF[kind % RIFF.len()].to_vec(),
                    _ => vec![0xFF, JPEG[kind % JPEG.len()]],
                };
                parts.insert(at.index(parts.len()), (kind, data.clone()));
            }
        }
    }
}

/// Changes every stated size.
fn sides(name: &str, parts: &mut [Part], width: u32, height: u32) {
    for (kind, data) in parts {
        match (name, &kind[..]) {
            ("png", b"IHDR") if data.len() >= 8 => {
                data[..4].copy_from_slice(&width.to_be_bytes());
                data[4..8].copy_from_slice(&height.to_be_bytes());
            }
            ("jpeg", [0xFF, 0xC0 | 0xC2]) if data.len() >= 5 => {
                data[1..3].copy_from_slice(&(height as u16).to_be_bytes());
                data[3..5].copy_from_slice(&(width as u16).to_be_bytes());
            }
            ("webp", b"VP8X") if data.len() >= 10 => {
                data[4..7].copy_from_slice(&width.wrapping_sub(1).to_le_bytes()[..3]);
                data[7..10].copy_from_slice(&height.wrapping_sub(1).to_le_bytes()[..3]);
            }
            ("webp", b"VP8L") if data.len() >= 5 => {
                let [w, h] = [width, height].map(|side| side.wrapping_sub(1) & 0x3FFF);
                data[1..5].copy_from_slice(&(w | h << 14).to_le_bytes());
            }
            ("webp", b"VP8 ") if data.len() >= 10 => {
                data[6..8].copy_from_slice(&(width as u16).to_le_bytes());
                data[8..10].copy_from_slice(&(height as u16).to_le_bytes());
            }
            _ => {}
        }
    }
}
