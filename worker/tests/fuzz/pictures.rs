//! Damaged requests and pictures of jobs.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::request::{Defaults, ImageSpec, Offer, PreviewSource, Unknown};
use glimpse_test_support::fuzz::{self, Change, changes, pictures::broken};
use glimpse_worker::{
    pipeline::{LoadOptions, Pipeline, SdxlPipeline},
    request,
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::support::parity;

/// The memory of a job with a small picture, and the buffers of a picture decoder, in bytes.
const BASE: usize = 64 << 20;
/// Memory of a picture's file, of its decoded pixels, and of the pixels as numbers, in bytes.
const PER_PIXEL: usize = 40;
/// See [`crate::copy`].
const PER_BYTE: usize = 100;
/// The pipeline's limit of pixels.
const MADE: u64 = 64 * 64;

/// A checked request with nearly all fields.
fn document() -> Value {
    let offer = Offer {
        native_width: 64,
        native_height: 64,
        max_pixels: MADE,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let body = json!({
        "prompt": "a fox", "negative_prompt": "blurry", "seed": 7, "clip_skip": 1, "image": SMALL, "mask": SMALL,
        "strength": 0.5, "loras": [], "num_inference_steps": 2,
    });
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = body.as_object().cloned().unwrap_or_default();
    serde_json::to_value(ImageSpec::check(body, &offer, defaults).expect("right")).expect("JSON")
}

const SMALL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

#[test]
fn a_changed_request_is_made_or_refused() {
    fuzz::alone(|| {
        let options = LoadOptions {
            taesd: Some(parity().join("taesdxl")),
            max_pixels: MADE,
            ..LoadOptions::cpu(parity().join("model"))
        };
        let pipeline = SdxlPipeline::load(options).expect("loads");
        let whole = document();
        let sometimes = || prop::option::weighted(0.3, broken());
        let cases = (sometimes(), sometimes(), vec(changes(), 0..2));
        fuzz::check(300, &cases, |(image, mask, changes)| {
            let mut document = whole.clone();
            for (name, picture) in [("image", &image), ("mask", &mask)] {
                if let Some(picture) = picture {
                    let (kind, file) = picture.file();
                    let uri = format!("data:image/{kind};base64,{}", STANDARD.encode(file));
                    document["original"][name] = uri.into();
                }
            }
            let text = Change::all(&changes.concat(), &document);
            let case = (&image, &mask, &changes);
            let read = fuzz::within(&case, BASE + PER_BYTE * text.len(), || {
                serde_json::from_str::<ImageSpec>(&text)
            });
            let Ok(spec) = read else { return Ok(()) };
            let pixels = [spec.image(), spec.mask()].into_iter().flatten();
            let pixels: usize = pixels.map(|image| image.width() as usize * image.height() as usize).sum();
            let most = BASE + PER_BYTE * text.len() + PER_PIXEL * pixels;
            fuzz::within(&case, most, || {
                let _ = (spec.steps_to_take(), spec.affinity(), spec.has_preview_after(1));
                let Ok(inputs) = request::inputs(&spec, &Default::default(), &Default::default(), None)
                else {
                    return;
                };
                let Ok(mut job) = pipeline.begin(&inputs) else { return };
                let _ = pipeline.step(&mut [&mut job]);
            });
            Ok(())
        });
    });
}
