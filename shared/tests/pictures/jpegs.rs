//! JPEGs without an end marker, and truncated JPEGs.

use glimpse_shared::request::{InputImage, InputImageError};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Ten scans, as libjpeg writes them: first the upper bits, then twice one more bit.
const REFINED: &[u8] = include_bytes!("refined.jpg");

/// A picture without two equal rows.
fn pixels(width: u32, height: u32, channels: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| (0..channels).map(move |c| (x * (7 + c) + (x ^ y) * c + x * y) as u8);
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

fn encoded(
    (width, height): (u16, u16),
    color: ColorType,
    set: impl Fn(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let channels = match color {
        ColorType::Luma => 1,
        ColorType::Cmyk => 4,
        _ => 3,
    };
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 85);
    set(&mut encoder);
    encoder.encode(&pixels(width.into(), height.into(), channels), width, height, color).unwrap();
    file
}

/// One JPEG of each kind.
fn jpegs() -> Vec<(&'static str, Vec<u8>)> {
    let (size, rgb) = ((45, 37), ColorType::Rgb);
    vec![
        ("as it comes", encoded(size, rgb, |_| {})),
        ("one block", encoded((1, 1), rgb, |_| {})),
        ("grey", encoded(size, ColorType::Luma, |_| {})),
        ("of four inks", encoded(size, ColorType::Cmyk, |_| {})),
        ("half the colours", encoded(size, rgb, |to| to.set_sampling_factor(SamplingFactor::F_2_2))),
        ("a quarter of them", encoded(size, rgb, |to| to.set_sampling_factor(SamplingFactor::F_4_1))),
        ("with tables of its own", encoded(size, rgb, |to| to.set_optimized_huffman_tables(true))),
        ("with restarts", encoded(size, rgb, |to| to.set_restart_interval(2))),
        ("progressive", encoded(size, rgb, |to| to.set_progressive(true))),
        (
            "progressive, with half the colours and restarts",
            encoded(size, rgb, |to| {
                to.set_progressive(true);
                to.set_sampling_factor(SamplingFactor::F_2_2);
                to.set_restart_interval(3);
            }),
        ),
        ("refined", REFINED.to_vec()),
    ]
}

fn read(file: &[u8]) -> Result<(InputImage, Vec<u8>), InputImageError> {
    let image = InputImage::new(file.to_vec().into())?;
    let pixels = image.decode()?.into_bytes();
    Ok((image, pixels))
}

#[test]
fn a_jpeg_without_an_end_marker_is_read() {
    for (what, whole) in jpegs() {
        let (image, pixels) = read(&whole).unwrap();
        assert_eq!(&image.bytes()[..], &whole[..], "{what} is kept as it is");
        let without = &whole[..whole.len() - 2];
        let mut other = encoded((8, 8), ColorType::Rgb, |_| {});
        let mut thumbnails = [&other[..other.len() - 2], &other].concat();
        thumbnails.extend_from_slice(b"film");
        other.truncate(other.len() - 2);
        for (behind, trailer) in [
            ("nothing", &b""[..]),
            ("half an end", b"\xff"),
            ("filling", b"\xff\xff\xff"),
            ("zeros", &[0; 4096]),
            ("a text", b"made with a program\0"),
            ("a segment", b"\xff\xe2\0\x06MPF\0"),
            ("a segment that is cut", b"\xff\xe2\xff\xff"),
            ("another picture without an end", &other),
            ("other pictures", &thumbnails),
        ] {
            let file = [without, trailer].concat();
            let (mended, mended_pixels) =
                read(&file).unwrap_or_else(|error| panic!("{what}, {behind} behind it: {error}"));
            assert!(mended_pixels == pixels, "{what}, {behind} behind it, shows something else");
            assert_eq!(mended.bytes().len(), whole.len(), "{what}, {behind} behind it");
            // A release that requires the end marker can read it from the store.
            assert!(mended.bytes().ends_with(b"\xff\xd9"), "{what}, {behind} behind it");
        }
    }
}

#[test]
fn bytes_after_the_end_marker_are_ignored() {
    for (what, whole) in jpegs() {
        let (_, pixels) = read(&whole).unwrap();
        for trailer in [&b"\0\0\0\0"[..], b"\xff", b"\xff\xda film", &whole, &whole[..whole.len() / 2]] {
            let (image, same) = read(&[&whole, trailer].concat()).unwrap();
            assert!(same == pixels && image.bytes().len() == whole.len() + trailer.len(), "{what}");
        }
    }
}

#[test]
fn a_truncated_jpeg_is_rejected() {
    for (what, whole) in jpegs() {
        let other = encoded((8, 8), ColorType::Rgb, |_| {});
        let scan = whole.windows(2).rposition(|pair| pair == b"\xff\xda").unwrap() + 16;
        let trailers = [("another picture", &other[..]), ("zeros", &[0; 16384]), ("ones", &[0xFF; 64])];
        // The 0 after the scan's last 0xFF carries no data.
        let end = whole.len() - 2 - usize::from(whole.ends_with(b"\xff\0\xff\xd9"));
        for at in 0..end {
            // After a truncated segment, another picture may be read as the rest of this one.
            let trailers = trailers.iter().filter(|_| at >= scan);
            for (behind, trailer) in [("nothing", &b""[..])].iter().chain(trailers) {
                let found = read(&[&whole[..at], trailer].concat());
                assert!(found.is_err(), "{what} of {} bytes, cut at {at}, {behind} behind it", whole.len());
            }
        }
    }
}

#[test]
fn a_jpeg_of_a_rare_kind_is_unsupported() {
    let usual = encoded((16, 16), ColorType::Luma, |_| {});
    let frame = usual.windows(2).position(|pair| pair == b"\xff\xc0").unwrap();
    let with = |at: usize, byte: u8| {
        let mut file = usual.clone();
        file[frame + at] = byte;
        file
    };
    for (what, file) in
        [("arithmetic codes", with(1, 0xC9)), ("no loss", with(1, 0xC3)), ("12 bits", with(4, 12))]
    {
        let error = read(&file).unwrap_err();
        assert_eq!(error.kind(), "unsupported_image_format", "{what}: {error}");
        assert!(error.to_string().starts_with("This kind of JPEG cannot be read"), "{what}: {error}");
    }
}
