//! Writes a checked request in the form of a client's request, with every value.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::prompt::{Prompt, PromptSyntax, Side};

use super::{
    branch::{OF_PICTURES, RECIPE_VERSION},
    controlnet::ControlNet,
    embedding::Embedding,
    input_image::InputImage,
    lora::Lora,
    lora_path::LoraPath,
    scheduler_config::listed_steps,
    spec::{Branch, ImageSpec},
};

/// How a written request has what may be large or secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputPictures {
    /// Pictures are data URIs, and URLs have their queries: a copy of the request, for the fleet itself.
    Whole,
    /// Pictures are named by `{"sha256","bytes","width","height"}`, and URLs have no query: for everybody.
    Digests,
}

impl ImageSpec {
    /// The request that a client sends for this one, with every default and the seed written out. What does not change
    /// the pictures is left out: previews, and how the pictures are returned.
    pub fn to_request(&self, pictures: InputPictures) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                all.insert(name.to_owned(), value);
            }
        };
        put("prompt", json!(self.prompt));
        put("negative_prompt", json!(self.negative_prompt));
        // A list of noise levels has its own number of steps, which may be above the bounds of the field.
        if listed_steps(&self.scheduler_config).is_none() {
            put("num_inference_steps", json!(self.num_inference_steps));
        }
        put("width", json!(self.width));
        put("height", json!(self.height));
        put("guidance_scale", json!(self.guidance_scale));
        put("guidance_rescale", json!(self.guidance_rescale));
        put("clip_skip", json!(self.clip_skip));
        put("prompt_syntax", json!(self.prompt_syntax));
        put("long_prompt", json!(self.long_prompt));
        let loras: Vec<_> =
            self.loras_beside_the_prompt().iter().map(|lora| of_lora(lora, pictures)).collect();
        put("loras", unless_empty(loras));
        put(
            "embeddings",
            unless_empty(self.embeddings.iter().map(|one| of_embedding(one, pictures)).collect()),
        );
        put("controlnets", unless_empty(self.controlnets.iter().map(|one| of_net(one, pictures)).collect()));
        if let Some(original) = &self.original {
            put("image", of_picture(&original.image, pictures));
            put("mask", original.mask.as_ref().map_or(Value::Null, |mask| of_picture(mask, pictures)));
            put("strength", json!(original.strength));
        }
        put("denoising_end", json!(self.parts.denoising_end));
        put("aesthetic_score", json!(self.parts.aesthetic_score));
        put("negative_aesthetic_score", json!(self.parts.negative_aesthetic_score));
        put("padding_mask_crop", json!(self.parts.padding_mask_crop));
        put("hires", json!(self.parts.hires));
        if self.seeds.is_empty() {
            put("seed", json!(self.seed));
            put("num_images", json!(self.num_images));
        } else {
            put("seeds", json!(self.seeds));
        }
        put("scheduler", json!(self.scheduler));
        if !self.scheduler_config.is_empty() {
            put("scheduler_config", Value::Object(self.scheduler_config.clone()));
        }
        put("output_format", json!(self.output_format));
        put("finish_at_step", json!(self.finish_at_step));
        if let Some(branch) = &self.from {
            let from = branch.member(&match pictures {
                InputPictures::Digests => all.clone(),
                InputPictures::Whole => self.to_request(InputPictures::Digests),
            });
            all.insert("from".to_owned(), from);
        }
        all
    }

    /// The LoRAs that the prompt does not name itself: those of the prompt come last.
    fn loras_beside_the_prompt(&self) -> &[Lora] {
        let named = match self.prompt_syntax {
            PromptSyntax::Plain => 0,
            // A checked prompt can be read again.
            PromptSyntax::A1111 => {
                Prompt::parse(&self.prompt, Side::Positive).map_or(0, |prompt| prompt.loras.len())
            }
        };
        self.loras.get(..self.loras.len().saturating_sub(named)).unwrap_or_default()
    }
}

impl Branch {
    /// The member `from` of the job's request, whose pictures are `own`.
    pub(super) fn member(&self, own: &Map<String, Value>) -> Value {
        let mut request = self.request.to_request(InputPictures::Digests);
        request.extend(
            OF_PICTURES.into_iter().filter_map(|name| Some((name.to_owned(), own.get(name)?.clone()))),
        );
        if let Some(branch) = &self.request.from {
            request.insert("from".to_owned(), branch.member(own));
        }
        json!({ "recipe": { "version": RECIPE_VERSION, "request": request }, "step": self.step })
    }
}

impl InputImage {
    /// SHA-256 (hex) of the file.
    pub fn sha256(&self) -> String {
        Sha256::digest(self.bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

fn unless_empty(entries: Vec<Value>) -> Value {
    if entries.is_empty() { Value::Null } else { Value::Array(entries) }
}

fn of_path(path: &LoraPath, pictures: InputPictures) -> Value {
    match pictures {
        InputPictures::Whole => path.full_text().into(),
        InputPictures::Digests => path.to_string().into(),
    }
}

fn of_picture(picture: &InputImage, pictures: InputPictures) -> Value {
    match pictures {
        InputPictures::Whole => picture.to_data_uri().into(),
        InputPictures::Digests => json!({
            "sha256": picture.sha256(),
            "bytes": picture.bytes().len(),
            "width": picture.width(),
            "height": picture.height(),
        }),
    }
}

fn of_lora(lora: &Lora, pictures: InputPictures) -> Value {
    without_null(json!({
        "path": of_path(lora.path(), pictures),
        "scale": lora.scale(),
        "unet_scale": lora.unet_scale(),
        "text_scale": lora.text_scale(),
    }))
}

fn of_embedding(embedding: &Embedding, pictures: InputPictures) -> Value {
    let path = of_path(embedding.path(), pictures);
    match embedding.tokens() {
        [token] => json!({ "path": path, "token": token }),
        // Only fal's routes can give several.
        tokens => json!({ "path": path, "tokens": tokens }),
    }
}

fn of_net(net: &ControlNet, pictures: InputPictures) -> Value {
    let canny = net.canny();
    without_null(json!({
        "path": of_path(net.path(), pictures),
        "image": of_picture(net.image(), pictures),
        "scale": net.scale(),
        "start": net.start(),
        "end": net.end(),
        "mode": net.mode(),
        "preprocess": canny.map(|_| "canny"),
        "low_threshold": canny.map(|canny| canny.low()),
        "high_threshold": canny.map(|canny| canny.high()),
    }))
}

fn without_null(entry: Value) -> Value {
    match entry {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io::Cursor};

    use image::{DynamicImage, ImageFormat};

    use super::super::{Defaults, LoraSource, Offer, PreviewSource, Unknown};
    use super::*;

    fn check(body: Value) -> ImageSpec {
        let offer = Offer {
            native_width: 64,
            native_height: 64,
            max_pixels: 1 << 20,
            schedulers: ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler"].map(str::to_owned).into(),
            lora_sources: BTreeSet::from(LoraSource::ALL),
            controlnet_hub: true,
        };
        let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Denoised };
        let Value::Object(body) = body else { panic!("an object") };
        ImageSpec::check(body.clone(), &offer, defaults)
            .unwrap_or_else(|errors| panic!("{body:?}: {errors:?}"))
    }

    fn png() -> String {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(64, 64).write_to(&mut file, ImageFormat::Png).unwrap();
        InputImage::new(file.into_inner().into()).unwrap().to_data_uri()
    }

    fn bodies() -> Vec<Value> {
        vec![
            json!({ "prompt": "a" }),
            json!({ "prompt": "a", "seeds": [1, 2], "clip_skip": 2, "output_format": "webp", "guidance_rescale": 0.7 }),
            json!({
                "prompt": "a <lora:ink:0.5> (b:1.2)", "prompt_syntax": "a1111", "num_images": 3, "long_prompt": true,
                "loras": [
                    { "path": "oil", "scale": 0.1, "text_scale": 0.0 },
                    { "path": "https://example.com/x.safetensors?token=swordfish" }
                ],
                "embeddings": [{ "path": "hf://me/style", "token": "<s>" }],
            }),
            json!({
                "prompt": "a", "image": png(), "mask": png(), "padding_mask_crop": 8, "width": 128, "height": 64,
                "controlnets": [{ "path": "canny", "image": png(), "preprocess": "canny", "low_threshold": 7, "end": 0.5 }],
            }),
            json!({ "prompt": "a", "hires": { "scale": 2.0 }, "scheduler": "DPM++ 2M Karras", "eta": 0.5 }),
            json!({ "prompt": "a", "sigmas": (0..80).rev().collect::<Vec<_>>() }),
            json!({ "prompt": "a", "preset": "lcm", "scheduler": "Euler", "denoising_end": 0.8, "aesthetic_score": 6.0 }),
        ]
    }

    #[test]
    fn a_written_request_is_the_same_request() {
        for body in bodies() {
            let spec = check(body.clone());
            let again = check(Value::Object(spec.to_request(InputPictures::Whole)));
            let stored = |spec: &ImageSpec| serde_json::to_value(spec).unwrap();
            assert_eq!(stored(&again), stored(&spec), "{body}");
        }
    }

    #[test]
    fn what_leaves_the_fleet_has_no_pictures_and_no_secrets() {
        for body in bodies() {
            let spec = check(body);
            let text = Value::Object(spec.to_request(InputPictures::Digests)).to_string();
            assert!(!text.contains("swordfish") && !text.contains("base64"), "{text}");
            if let Some(image) = spec.image() {
                assert!(text.contains(&image.sha256()), "{text}");
            }
        }
    }
}
