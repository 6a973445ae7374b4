//! Any request is checked without a panic.

use std::io::Cursor;

use glimpse_shared::request::{Fetched, InputImage, Names, Task};
use glimpse_test_support::fuzz;
use image::{DynamicImage, ImageFormat};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{FORMATS, MOST, check, check_with, file, uri};

/// Any JSON that is not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]{0,60}".prop_map(Value::from),
        "https?://.{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::btree_map("path|scale|[a-z]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const NAMES: &str = "prompt|negative_prompt|num_inference_steps|width|height|guidance_scale|guidance_rescale|\
                     clip_skip|loras|image|image_url|mask|mask_url|strength|seed|num_images|scheduler|\
                     image_size|format|embeddings|expand_prompt|sync_mode";

proptest! {
    #![proptest_config(fuzz::cases(256))]

    #[test]
    fn any_json_is_checked(members in prop::collection::btree_map(NAMES, any_json(), 0..8), fal: bool, task in 0_usize..3) {
        let task = [Task::Any, Task::ImageToImage, Task::Inpainting][task];
        let names = if fal { Names::Fal(task) } else { Names::Own };
        let body = Value::Object(members.into_iter().collect());
        match check_with(body, names, &Fetched::default()) {
            Ok(spec) => prop_assert!(u64::from(spec.width()) * u64::from(spec.height()) <= MOST),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_checked(head in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let heads: [&[u8]; 4] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8 "];
        let file = [heads[head], &bytes].concat();
        let image = InputImage::new(file.into());
        prop_assert!(image.and_then(|image| image.decode()).is_err());
    }

    #[test]
    fn any_damaged_picture_is_checked(format in 0_usize..3, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut file = file(64, 48, FORMATS[format].0);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(image) = InputImage::new(file.into()) {
            // The damage may be harmless: any result is right.
            let _ = image.decode();
        }
    }
}

proptest! {
    #![proptest_config(fuzz::cases(64))]

    #[test]
    fn any_picture_has_a_size_that_can_be_made(
        width in 1_u32..=2500,
        height in 1_u32..=2500,
        given in 0_usize..3,
        side in (8_u32..=256).prop_map(|n| 8 * n),
    ) {
        let mut black = Cursor::new(Vec::new());
        DynamicImage::new_luma8(width, height).write_to(&mut black, ImageFormat::Png).unwrap();
        let mut body = json!({ "prompt": "x", "image": uri("png", black.get_ref()) });
        if given > 0 {
            body[["width", "height"][given - 1]] = side.into();
        }
        let spec = check(body).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let made = [spec.width(), spec.height()];
        prop_assert!(made.iter().all(|side| (64..=2048).contains(side) && side % 8 == 0), "{made:?}");
        prop_assert!(u64::from(made[0]) * u64::from(made[1]) <= MOST, "{made:?}");
        if given > 0 {
            prop_assert_eq!(made[given - 1], side);
        }
    }
}
