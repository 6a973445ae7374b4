//! Recipes in pictures: any file gives one or an error, with bounded memory.

use std::{fmt::Debug, io::Cursor};

use bytes::Bytes;
use glimpse_shared::recipe::{Metadata, Recipe};
use glimpse_test_support::fuzz::{self, Damage, damages, pictures::broken};
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

/// Of a picture's header and its blocks of metadata.
const MOST: usize = 24 << 20;

/// A PNG with a text and a packet.
fn png(text: &str, xmp: &str) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(Cursor::new(&mut file), 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_itxt_chunk("parameters".to_owned(), text.to_owned()).unwrap();
    encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.to_owned()).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1, 2, 3]).unwrap();
    writer.finish().unwrap();
    file
}

fn look(case: &impl Debug, file: Vec<u8>) {
    let length = file.len();
    // What was read can be written.
    let _ = fuzz::within(case, MOST + 4 * length, || {
        Recipe::from_picture(Bytes::from(file)).map(|found| Metadata::of(&found.recipe).is_cut())
    });
}

/// A packet of ours.
fn packet(prompt: &str) -> String {
    let request = Map::from_iter([("prompt".to_owned(), Value::from(prompt))]);
    let recipe: Recipe = serde_json::from_value(json!({ "version": 1, "request": request })).unwrap();
    Metadata::of(&recipe).xmp().unwrap().to_owned()
}

fn damaged(text: &str, damages: &[Damage]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    damages.iter().for_each(|damage| damage.apply(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

const TEXT: &str = "a fox\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 1, \
                    Size: 512x512, Model: \"a, b\", Lora hashes: \"x: 0123\"";

proptest! {
    #![proptest_config(fuzz::cases(1000))]

    #[test]
    fn a_broken_picture_has_a_recipe_or_none(case in broken()) {
        look(&case, case.file().1);
    }

    #[test]
    fn a_damaged_text_is_a_recipe_or_none(text in damages(), xmp in damages(), prompt in ".{0,40}") {
        let (text, xmp) = (damaged(TEXT, &text), damaged(&packet(&prompt), &xmp));
        look(&(&text, &xmp), png(&text, &xmp));
        look(&text, png(&text, ""));
    }

    #[test]
    fn any_text_is_a_recipe_or_none(
        lines in vec("[ -~]{0,40}|([A-Za-z ]{1,9}: (\"[^\"]{0,9}\"|[^,]{0,9}), ?){0,6}", 0..5),
        xmp in "<?[a-z:]{0,9}( xmlns:g=\"urn:glimpse:recipe:1#\")?>?.{0,60}",
    ) {
        let text = lines.join("\n");
        look(&(&text, &xmp), png(&text, &xmp));
    }

    #[test]
    fn a_prompt_is_read_again(prompt in any::<String>()) {
        let found = Recipe::from_picture(png("", &packet(&prompt)).into());
        prop_assert_eq!(&found.unwrap().recipe.request["prompt"], &Value::from(prompt));
    }
}

#[test]
fn a_small_file_cannot_need_much_memory() {
    fuzz::alone(a_packed_text);
}

/// Alone as a whole: the text would count for another test.
#[cfg(test)]
fn a_packed_text() {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(Cursor::new(&mut file), 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_ztxt_chunk("parameters".to_owned(), "a".repeat(64 << 20)).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1, 2, 3]).unwrap();
    writer.finish().unwrap();
    assert!(file.len() < 2 << 20, "{} bytes", file.len());
    look(&"a text that is unpacked", file);
}
