//! The text `parameters` of a picture, in the form of AUTOMATIC1111's web UI, which many programs and sites read: the
//! prompt, a line with the negative prompt, and a line with the rest as `Name: value, …`.

use serde_json::Value;

use super::{form::Recipe, sampler_names};

/// How many digits of a model's digest that text has.
const MODEL_DIGITS: usize = 10;

/// The text for a recipe.
pub(super) fn write(recipe: &Recipe) -> String {
    let request = &recipe.request;
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| request.get(name).filter(|value| value.is_number()).map(Value::to_string);
    let mut values: Vec<(&str, String)> = Vec::new();
    let mut put = |name, value: Option<String>| values.extend(value.map(|value| (name, value)));
    put("Steps", steps(recipe));
    let sampler = sampler_names::of_request(request);
    put("Sampler", sampler.as_ref().map(|name| name.sampler.clone()));
    put("Schedule type", sampler.map(|name| name.schedule.to_owned()));
    put("CFG scale", number("guidance_scale"));
    put("Seed", number("seed"));
    put("Size", number("width").zip(number("height")).map(|(width, height)| format!("{width}x{height}")));
    if let Some(model) = &recipe.model {
        put("Model hash", model.sha256.as_ref().and_then(|hash| hash.get(..MODEL_DIGITS)).map(str::to_owned));
        put("Model", Some(model.name.clone()));
    }
    let hires = request.get("hires").and_then(Value::as_object);
    let of_hires = |name: &str| hires.and_then(|hires| hires.get(name)).map(Value::to_string);
    put("Denoising strength", number("strength").or_else(|| of_hires("strength")));
    put("Hires upscale", of_hires("scale"));
    put("Hires steps", of_hires("steps"));
    // One seed for all of them: this is the number of the picture.
    if let Some(index) = recipe.index {
        put("Batch size", number("num_images"));
        put("Batch pos", Some(index.to_string()));
    }
    let hashes = recipe.loras.iter().filter_map(|lora| Some((name_of(&lora.path), lora.autov3.as_ref()?)));
    let hashes: Vec<_> = hashes.map(|(name, hash)| format!("{name}: {hash}")).collect();
    put("Lora hashes", (!hashes.is_empty()).then(|| hashes.join(", ")));
    put("Version", recipe.glimpse.as_ref().map(|version| format!("Glimpse {version}")));
    let values: Vec<_> = values.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
    let mut lines = vec![printable(text("prompt"))];
    if !text("negative_prompt").is_empty() {
        lines.push(format!("Negative prompt: {}", printable(text("negative_prompt"))));
    }
    lines.push(values.join(", "));
    lines.join("\n").trim().to_owned()
}

/// The steps of the request; those that a list of noise levels or timesteps gives, if it has one.
fn steps(recipe: &Recipe) -> Option<String> {
    if let Some(steps) = recipe.request.get("num_inference_steps") {
        return Some(steps.to_string());
    }
    let config = recipe.request.get("scheduler_config")?;
    let length = |key: &str| config.get(key).and_then(Value::as_array).map(Vec::len);
    length("timesteps")
        .or(length("sigmas").map(|levels| levels.saturating_sub(1)))
        .map(|steps| steps.to_string())
}

/// The name of a LoRA in a prompt of that web UI: its file without folder and ending.
fn name_of(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.strip_suffix(".safetensors").unwrap_or(last)
}

/// A value that would end early is written as JSON.
fn quoted(value: &str) -> String {
    if value.contains([',', '\n', ':']) { Value::from(value).to_string() } else { value.to_owned() }
}

/// A prompt without characters that a text of a picture cannot have.
fn printable(prompt: &str) -> String {
    prompt.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
