//! GIFs: the first frame, as Pillow 13 gives it in RGB (`Image.open(file).convert("RGB")`).

use glimpse_shared::request::{InputFormat, InputImage, InputImageError, Names};
use serde_json::json;

use crate::support::{check, uri, wrong};

/// The file and its pixels in RGB, in hexadecimal digits; all are by Pillow.
const GIFS: [(&str, &str, &str); 4] = [
    (
        "plain",
        "47494638376107000500830000053c822a97934ff2a4744db599a8c6be03d7e35ee808b9f92d140a526f1b9c253dc1804ee6db5f0b36703091810000002c0000000007000500000827000f1050e040000007080e1870e0600101810b00082810200100040d192c6830704000020e0202003b",
        "08b9f999a8c69c253d3091814ff2a4053c823091812d140a08b9f9e35ee8309181309181c1804e99a8c608b9f999a8c6c1804e053c824ff2a4be03d72a9793526f1b053c822d140a309181c1804ee6db5fc1804e0b367099a8c69c253d744db52a979399a8c6309181",
    ),
    (
        "transparent",
        "47494638396107000500830000053c822a97934ff2a4744db599a8c6be03d7e35ee808b9f92d140a526f1b77ca2c9c253dc1804ee6db5f30918100000021f90401000003002c0000000007000500000828000d206890a00183050d0e280080a080820102130c10e0c0818005021a100050b0c1800001180404003b",
        "e35ee82d140ae6db5f526f1be6db5fc1804e9c253de6db5f08b9f977ca2c053c822d140abe03d777ca2c744db5e35ee82d140a526f1b744db54ff2a43091813091814ff2a49c253d4ff2a4e6db5f99a8c6053c82526f1be6db5fe6db5f744db52a97932a9793c1804e",
    ),
    (
        "interlaced",
        "47494638376107000900830000053c822a97934ff2a4744db599a8c6be03d7e35ee808b9f92d140a526f1b77ca2c9c253dc1804ee6db5f0b36703091812c00000000070009000008420015203810200100010302186890000181000a142c20c0808103060310343890a00182040a003408c9e0a102070b16207800200000950e4016585040e2478c000202003b",
        "77ca2c2d140a08b9f92a9793526f1b053c824ff2a4744db52a9793e35ee8e6db5f526f1b2d140a99a8c62a979377ca2c77ca2c9c253d99a8c6c1804ec1804e0b3670c1804e744db52d140ae6db5f08b9f9526f1be6db5f2d140a526f1b77ca2c053c82e6db5f77ca2c053c82c1804e99a8c62a979377ca2c0b36709c253d9c253d2d140a309181053c822a9793053c829c253d2d140a0b3670526f1b77ca2cbe03d79c253dbe03d777ca2c9c253d2d140a526f1bc1804e744db5053c82",
    ),
    (
        "two frames",
        "47494638376104000300810000c80a140000000000000000002c00000000040003000008080001081c485060400021f90401000001002c0000000004000300810ac81400000000000000000008080001081c48506040003b",
        "c80a14c80a14c80a14c80a14c80a14c80a14c80a14c80a14c80a14c80a14c80a14c80a14",
    ),
];
/// A frame of 7x5 at (1, 2) on a canvas of 9x7.
const PART: &str = "47494638376109000700830000053c822a97934ff2a4744db599a8c6be03d7e35ee808b9f92d140a526f1b9c253dc1804ee6db5f0b36703091810000002c0100020007000500000827000f1050e040000007080e1870e0600101810b00082810200100040d192c6830704000020e0202003b";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn the_first_frame_is_that_of_pillow() {
    for (name, file, pixels) in GIFS {
        let picture = InputImage::new(bytes(file).into()).expect(name);
        assert_eq!(picture.format(), InputFormat::Png, "nothing behind the API reads GIFs");
        assert_eq!(picture.decode().unwrap().into_rgb8().into_raw(), bytes(pixels), "{name}");
        let spec = check(json!({ "prompt": "x", "image": uri("gif", &bytes(file)) })).unwrap();
        assert_eq!(spec.image(), Some(&picture));
    }
}

#[test]
fn what_the_first_frame_does_not_cover_is_black() {
    let picture = InputImage::new(bytes(PART).into()).unwrap().decode().unwrap().into_rgb8();
    let (_, _, plain) = GIFS[0];
    assert_eq!(picture.dimensions(), (9, 7));
    let mut inside = Vec::new();
    for (x, y, pixel) in picture.enumerate_pixels() {
        match (1..8).contains(&x) && y >= 2 {
            true => inside.extend(pixel.0),
            false => assert_eq!(pixel.0, [0; 3], "{x} {y}"),
        }
    }
    assert_eq!(inside, bytes(plain));
}

#[test]
fn a_gif_that_is_too_large_or_damaged_is_refused() {
    let (_, file, _) = GIFS[0];
    let mut large = bytes(file);
    large[6..10].copy_from_slice(&[0, 0x20, 1, 0x20]);
    assert_eq!(InputImage::new(large.into()), Err(InputImageError::TooLarge));
    let mut wide = bytes(file);
    wide[6..10].copy_from_slice(&[0xff, 0xff, 1, 0]);
    assert_eq!(InputImage::new(wide.into()), Err(InputImageError::TooLarge));
    for end in [6, 9, 12, 20, 70, 90] {
        let cut = bytes(file)[..end].to_vec();
        assert_eq!(InputImage::new(cut.into()), Err(InputImageError::Broken), "{end}");
    }
}

#[test]
fn the_alpha_channel_of_a_picture_may_be_its_mask() {
    let (_, file, _) = GIFS[1];
    for (names, image, mask) in [
        (Names::Own, "image", "mask"),
        (Names::Fal(glimpse_shared::request::Task::Inpainting), "image_url", "mask_url"),
    ] {
        let body = json!({ "prompt": "x", image: uri("gif", &bytes(file)), mask: "alpha" });
        let spec = crate::support::check_with(body, names, &Default::default()).unwrap();
        let (picture, mask) = (spec.image().unwrap(), spec.mask().unwrap());
        let (picture, mask) = (picture.decode().unwrap().into_rgba8(), mask.decode().unwrap().into_luma8());
        let mut holes = 0;
        for (pixel, mask) in picture.pixels().zip(mask.pixels()) {
            assert_eq!(mask.0, [255 - pixel.0[3]]);
            holes += usize::from(mask.0 == [255]);
        }
        assert!(holes > 0 && holes < 35, "{holes}");
    }
    let opaque = json!({ "prompt": "x", "image": crate::support::png(8, 8), "mask": "alpha" });
    assert_eq!(wrong(opaque, Names::Own), [("mask".to_owned(), "missing_alpha")]);
    let alone = json!({ "prompt": "x", "mask": "alpha" });
    assert_eq!(wrong(alone, Names::Own), [("mask".to_owned(), "missing_image")]);
    let other = json!({ "prompt": "x", "image": crate::support::png(8, 8), "mask": "Alpha" });
    assert_eq!(wrong(other, Names::Own), [("mask".to_owned(), "image_load_error")]);
}
