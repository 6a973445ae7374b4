//! Writes a checked request in the form of a client's request, with every value.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::prompt::{Prompt, PromptSyntax, Side};

use super::{
    controlnet::ControlNet, embedding::Embedding, input_image::InputImage, lora::Lora, lora_path::LoraPath,
    scheduler_config::listed_steps, spec::ImageSpec,
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
