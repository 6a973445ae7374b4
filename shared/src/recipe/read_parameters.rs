//! Reads the text `parameters` of a picture that another program made: what we know of it becomes a request.

use serde_json::{Map, Value, json};

use super::{
    form::{ModelRecipe, Recipe, VERSION},
    sampler_names,
};

/// The fewest values in the last line of such a text.
const FEWEST_VALUES: usize = 3;
/// The most values that are read.
const MOST_VALUES: usize = 200;
/// What begins the negative prompt.
const NEGATIVE: &str = "Negative prompt:";
/// Values that say nothing about how the picture is made again.
const IDLE: [&str; 4] = ["Version", "Model hash", "Model", "Lora hashes"];

/// The recipe in a text, and the names of the values in it that have no counterpart here; `None` if the text has not
/// this form.
pub(super) fn read(text: &str) -> Option<(Recipe, Vec<String>)> {
    let (before, last) = text.trim().rsplit_once('\n').unwrap_or(("", text.trim()));
    let values = values(last);
    if values.len() < FEWEST_VALUES {
        return None;
    }
    let (prompt, negative) = prompts(before);
    let mut request = Map::new();
    request.insert("prompt".to_owned(), prompt.into());
    request.insert("negative_prompt".to_owned(), negative.into());
    request.insert("prompt_syntax".to_owned(), "a1111".into());
    let value = |name: &str| values.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..]);
    let mut unknown = Vec::new();
    let sampler = value("Sampler");
    let known_sampler = sampler.and_then(|sampler| sampler_names::of_text(sampler, value("Schedule type")));
    for (name, text) in &values {
        let members = match &name[..] {
            "Steps" => whole(text).map(|steps| json!({ "num_inference_steps": steps })),
            "CFG scale" => number(text).map(|scale| json!({ "guidance_scale": scale })),
            "Seed" => whole(text).map(|seed| json!({ "seed": seed })),
            "Size" => size(text).map(|(width, height)| json!({ "width": width, "height": height })),
            "Sampler" => known_sampler.as_ref().map(|(name, _)| json!({ "scheduler": name })),
            "Schedule type" => known_sampler.as_ref().filter(|(_, whole)| *whole).map(|_| json!({})),
            name if IDLE.contains(&name) => Some(json!({})),
            _ => None,
        };
        match members {
            Some(Value::Object(members)) => request.extend(members),
            _ => unknown.push(name.clone()),
        }
    }
    let hash = value("Model hash").filter(|hash| is_hex(hash)).map(str::to_ascii_lowercase);
    let model = match (value("Model"), hash) {
        (None, None) => None,
        (name, sha256) => Some(ModelRecipe { name: name.unwrap_or_default().to_owned(), sha256 }),
    };
    let recipe = Recipe {
        version: VERSION,
        app: None,
        request,
        index: None,
        model,
        loras: Vec::new(),
        finished_at_step: None,
        glimpse: None,
        more: Map::new(),
    };
    Some((recipe, unknown))
}

/// The prompt and the negative prompt, each of one or more lines.
fn prompts(text: &str) -> (String, String) {
    let (mut prompt, mut negative): (Vec<&str>, Option<Vec<&str>>) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix(NEGATIVE), &mut negative) {
            (Some(rest), _) => negative.get_or_insert_default().push(rest.trim()),
            (None, Some(lines)) => lines.push(line),
            (None, None) => prompt.push(line),
        }
    }
    (prompt.join("\n"), negative.unwrap_or_default().join("\n"))
}

/// The values of a line `Name: value, Name: "quoted, value", …`.
fn values(line: &str) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = rest.split_once(':') {
        // What is before the last comma of the name belongs to a value that we do not know.
        let name = name.rsplit(',').next().unwrap_or(name).trim();
        let after = after.trim_start();
        let (value, after) = match quoted(after) {
            Some(found) => found,
            None => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        let is_name = name.chars().all(|c| c.is_alphanumeric() || " _-/".contains(c));
        if is_name && !name.is_empty() && values.len() < MOST_VALUES {
            values.push((name.to_owned(), value));
        }
        rest = after;
    }
    values
}

/// A JSON string at the beginning of a text, and what follows its comma.
fn quoted(text: &str) -> Option<(String, &str)> {
    if !text.starts_with('"') {
        return None;
    }
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = strings.next()?.ok()?;
    let after = text.get(strings.byte_offset()..)?.trim_start();
    Some((value, after.strip_prefix(',').unwrap_or(after)))
}

fn whole(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn size(text: &str) -> Option<(u64, u64)> {
    let (width, height) = text.split_once('x')?;
    Some((whole(width)?, whole(height)?))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_another_program_becomes_a_request() {
        let text = "a (red:1.2) fox,\nin snow <lora:ink:0.8>\nNegative prompt: blurry\nlow quality\nSteps: 25, Sampler: DPM++ 2M, Schedule \
                    type: Karras, CFG scale: 6.5, Seed: 4294967297, Size: 832x1216, Model hash: 31E35C80FC, Model: \"a, b\", Clip skip: 2, \
                    Lora hashes: \"ink: 0123456789ab\", TI hashes: \"x: \\\"y\\\"\", Version: v1.10.1";
        let (recipe, unknown) = read(text).unwrap();
        assert_eq!(
            Value::Object(recipe.request),
            json!({
                "prompt": "a (red:1.2) fox,\nin snow <lora:ink:0.8>",
                "negative_prompt": "blurry\nlow quality",
                "prompt_syntax": "a1111",
                "num_inference_steps": 25,
                "scheduler": "DPM++ 2M Karras",
                "guidance_scale": 6.5,
                "seed": 4_294_967_297_u64,
                "width": 832,
                "height": 1216,
            })
        );
        let sha256 = Some("31e35c80fc".to_owned());
        assert_eq!(recipe.model, Some(ModelRecipe { name: "a, b".to_owned(), sha256 }));
        assert_eq!(unknown, ["Clip skip", "TI hashes"]);
    }

    #[test]
    fn what_we_do_not_have_is_named() {
        let (recipe, unknown) = read(
            "fox\nSteps: many, Sampler: Restart, Schedule type: Karras, CFG scale: nan, Seed: -1, Size: 1",
        )
        .unwrap();
        assert_eq!(unknown, ["Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size"]);
        assert_eq!(recipe.request["prompt"], "fox");
        for text in ["", "a fox", "a fox\nSteps: 1, Seed: 2", "Steps"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
