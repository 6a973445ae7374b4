//! `POST /v1/recipe`.

use glimpse_shared::{
    job::WorkerRecord,
    recipe::{Metadata, ModelRecipe, Recipe},
};
use serde_json::{Value, json};

use crate::{
    pictures::png,
    support::{Answer, Stack, demo, record},
};

/// A picture with a recipe of ours, or with the text of another program.
pub fn picture(recipe: Option<&Value>, text: &str) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    if let Some(recipe) = recipe {
        let recipe: Recipe = serde_json::from_value(recipe.clone()).unwrap();
        let xmp = Metadata::of(&recipe).xmp().unwrap().to_owned();
        encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp).unwrap();
    }
    encoder.add_text_chunk("parameters".to_owned(), text.to_owned()).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1, 2, 3]).unwrap();
    writer.finish().unwrap();
    file
}

async fn read(stack: &Stack, file: &[u8]) -> Answer {
    stack.client().await.ask("POST", "/v1/recipe", &[], file).await
}

pub fn model(name: &str, digit: &str) -> ModelRecipe {
    ModelRecipe { name: name.to_owned(), sha256: Some(digit.repeat(64)) }
}

#[tokio::test]
async fn a_recipe_is_a_request_and_what_is_missing() {
    let stack = Stack::start().await;
    let served = WorkerRecord { model: Some(model("sdxl", "a")), ..record("one", &demo()) };
    stack.store.heartbeat(&served).await.unwrap();
    let request = json!({
        "prompt": "a fox", "seed": 7, "loras": [{ "path": "ink", "scale": 0.5 }], "strength": 0.5,
    });
    let mut recipe = json!({
        "version": 1, "app": "glimpse/demo", "request": request, "model": model("sdxl", "a"), "loras": [], "later": { "x": 1 },
    });
    let answer = read(&stack, &picture(Some(&recipe), "")).await;
    let mut body = request.clone();
    body["app"] = json!("glimpse/demo");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({ "recipe": recipe, "request": body, "missing": [] });
    let mut found = answer.json();
    // An empty list is not written.
    found["recipe"]["loras"] = json!([]);
    assert_eq!(found, expected);

    // Everything is missing.
    let named = json!({ "sha256": "f".repeat(64), "bytes": 9, "width": 64, "height": 64 });
    recipe["request"]["image"] = named.clone();
    recipe["request"]["controlnets"] = json!([{ "path": "canny", "image": named }]);
    recipe["request"]["loras"] = json!([{ "path": "oil" }, { "path": "hf://me/style" }]);
    recipe["request"]["prompt"] = json!("a fox <lora:pen:1> <lora:ink:1>");
    recipe["request"]["prompt_syntax"] = json!("a1111");
    recipe["model"] = json!(model("other", "b"));
    recipe["finished_at_step"] = json!(4);
    let found = read(&stack, &picture(Some(&recipe), "")).await.json();
    let missing: Vec<_> =
        found["missing"].as_array().unwrap().iter().map(|part| (&part["what"], &part["name"])).collect();
    let parts = [
        ("input", "image"),
        ("input", "controlnets[0].image"),
        ("model", "other"),
        ("lora", "oil"),
        ("lora", "hf://me/style"),
        ("lora", "pen"),
    ];
    let parts = parts.map(|(what, name)| (json!(what), json!(name)));
    assert_eq!(missing, parts.iter().map(|(what, name)| (what, name)).collect::<Vec<_>>());
    assert_eq!(found["request"]["image"], Value::Null);
    assert_eq!(found["request"]["controlnets"], json!([{ "path": "canny" }]));
    assert_eq!(found["request"]["finish_at_step"], 4);
    let message = found["missing"][2]["message"].as_str().unwrap();
    assert!(message.contains("other (bbbbbbbbbb)") && message.contains("sdxl (aaaaaaaaaa)"), "{message}");

    recipe["app"] = json!("no/body");
    let found = read(&stack, &picture(Some(&recipe), "")).await.json();
    let message = found["missing"].as_array().unwrap().last().unwrap();
    assert_eq!((&message["what"], &message["name"]), (&json!("app"), &json!("no/body")));
    assert!(message["message"].as_str().unwrap().contains("glimpse/demo"), "{message}");
}

#[tokio::test]
async fn another_programs_text_is_a_request_of_the_only_app() {
    let stack = Stack::start().await;
    let text = "a fox\nNegative prompt: grey\nSteps: 9, Sampler: Euler, CFG scale: 4, Seed: 3, Size: 64x72, Face restoration: x";
    let found = read(&stack, &picture(None, text)).await.json();
    let request = json!({
        "app": "glimpse/demo", "prompt": "a fox", "negative_prompt": "grey", "prompt_syntax": "a1111", "num_inference_steps": 9,
        "scheduler": "Euler", "guidance_scale": 4.0, "seed": 3, "width": 64, "height": 72,
    });
    assert_eq!(found["request"], request);
    assert_eq!(
        (&found["missing"][0]["what"], &found["missing"][0]["name"]),
        (&json!("setting"), &json!("Face restoration"))
    );
    assert_eq!(stack.post("/v1/jobs", &request.to_string()).await.status, 202);
}

#[tokio::test]
async fn a_file_without_a_recipe_is_refused() {
    let stack = Stack::start().await;
    let later = json!({ "version": 2, "request": {} });
    for (file, kind) in [
        (png(64, 64), "missing_recipe"),
        (picture(Some(&later), ""), "unreadable_recipe"),
        (b"{}".to_vec(), "unsupported_image_format"),
        (Vec::new(), "unsupported_image_format"),
        (png(64, 64)[..20].to_vec(), "image_load_error"),
    ] {
        let answer = read(&stack, &file).await;
        assert_eq!(answer.status, 422, "{kind}: {}", answer.text());
        let error = &answer.json()["detail"][0];
        assert_eq!((&error["type"], &error["loc"]), (&json!(kind), &json!(["body"])));
        assert!(answer.body.len() < 1000);
    }
}
