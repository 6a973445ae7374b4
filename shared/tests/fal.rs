//! fal's names for the fields of a request.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::{
    event::WarningCode,
    request::{
        Defaults, Dialect, FieldError, ImageSpec, InputImage, Loc, Names, Offer, OutputFormat, PreviewSource,
        Task, Unknown, parse_object,
    },
};
use serde_json::{Value, json};

#[cfg(test)]
/// Checks a request to an app whose own size is `native` squared.
fn check_of(body: Value, task: Task, native: u32) -> Result<ImageSpec, Vec<FieldError>> {
    let defaults = Defaults { unknown: Unknown::Ignored, preview_source: PreviewSource::Latents };
    let offer = Offer {
        native_width: native,
        native_height: native,
        max_pixels: 1024 * 1024,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let body = parse_object(body.to_string().as_bytes())?;
    ImageSpec::check(body, &offer, Dialect { defaults, names: Names::Fal(task) })
}

#[cfg(test)]
/// Checks a request with a prompt and these members.
fn check(members: Value) -> Result<ImageSpec, Vec<FieldError>> {
    check_of(with_prompt(members), Task::Any, 1024)
}

#[cfg(test)]
fn with_prompt(members: Value) -> Value {
    let mut body = json!({ "prompt": "x" });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[cfg(test)]
/// The place and the kind of each error.
fn errors(checked: Result<ImageSpec, Vec<FieldError>>) -> Vec<(String, &'static str)> {
    let part = |loc: &Loc| match loc {
        Loc::Name(name) => name.clone(),
        Loc::Offset(at) | Loc::Index(at) => at.to_string(),
    };
    let place = |error: &FieldError| error.loc[1..].iter().map(part).collect::<Vec<_>>().join(".");
    checked.unwrap_err().iter().map(|error| (place(error), error.kind)).collect()
}

#[cfg(test)]
fn error(field: &str, kind: &'static str) -> [(String, &'static str); 1] {
    [(field.to_owned(), kind)]
}

#[cfg(test)]
fn png() -> String {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut file, image::ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(file.into_inner()))
}

#[test]
fn a_named_size_is_scaled_to_the_apps_own_size() {
    for (name, at_1024, at_128, at_768) in [
        ("square_hd", (1024, 1024), (128, 128), (768, 768)),
        ("square", (512, 512), (64, 64), (384, 384)),
        ("portrait_4_3", (768, 1024), (96, 128), (576, 768)),
        ("portrait_16_9", (576, 1024), (72, 128), (432, 768)),
        ("landscape_4_3", (1024, 768), (128, 96), (768, 576)),
        ("landscape_16_9", (1024, 576), (128, 72), (768, 432)),
    ] {
        for (native, size) in [(1024, at_1024), (128, at_128), (768, at_768)] {
            let body = json!({ "prompt": "x", "image_size": name });
            let spec = check_of(body, Task::Any, native).unwrap();
            assert_eq!((spec.width(), spec.height()), size, "{name} at {native}");
        }
    }
    // No side is below the smallest one.
    let spec = check_of(json!({ "prompt": "x", "image_size": "square" }), Task::Any, 64).unwrap();
    assert_eq!((spec.width(), spec.height()), (64, 64));
}

#[test]
fn an_image_size_may_be_an_object_and_is_not_scaled() {
    let size = json!({ "width": 640, "height": 480.0, "unit": "px" });
    let spec = check_of(json!({ "prompt": "x", "image_size": size }), Task::Any, 128).unwrap();
    assert_eq!((spec.width(), spec.height()), (640, 480));
    for (size, place, kind) in [
        (json!({ "width": 640 }), "image_size.height", "missing"),
        (json!({ "width": 640, "height": null }), "image_size.height", "missing"),
        (json!({ "width": 65, "height": 64 }), "image_size.width", "multiple_of"),
        (json!({ "width": "640", "height": 64 }), "image_size.width", "int_type"),
        (json!({ "width": 640, "height": 4096 }), "image_size.height", "less_than_equal"),
        (json!({ "width": 2048, "height": 1024 }), "image_size", "less_than_equal"),
        (json!("huge"), "image_size", "one_of"),
        (json!(512), "image_size", "one_of"),
        (json!([512, 512]), "image_size", "one_of"),
    ] {
        assert_eq!(errors(check(json!({ "image_size": size }))), error(place, kind), "{size}");
    }
}

#[test]
fn our_names_count_beside_fals() {
    let spec = check(json!({ "image_size": "square", "width": 256 })).unwrap();
    assert_eq!((spec.width(), spec.height()), (256, 1024));
    assert!(check(json!({ "image_size": "nonsense", "height": 256 })).is_ok());
    let spec = check(json!({ "image_size": "square", "width": null, "height": null })).unwrap();
    assert_eq!((spec.width(), spec.height()), (512, 512));
    for (members, format) in [
        (json!({ "format": "png" }), OutputFormat::Png),
        (json!({ "format": "png", "output_format": "webp" }), OutputFormat::Webp),
        (json!({ "format": "png", "output_format": null }), OutputFormat::Png),
        (json!({ "format": null }), OutputFormat::Jpeg),
        (json!({ "image_format": "png" }), OutputFormat::Png),
        (json!({ "image_format": "png", "format": "webp" }), OutputFormat::Webp),
        (json!({ "image_format": "png", "output_format": "jpeg" }), OutputFormat::Jpeg),
    ] {
        assert_eq!(check(members.clone()).unwrap().output_format(), format, "{members}");
    }
    assert_eq!(errors(check(json!({ "format": "gif" }))), error("format", "one_of"));
    assert_eq!(errors(check(json!({ "image_format": "gif" }))), error("image_format", "one_of"));
}

#[test]
fn an_error_shows_what_was_sent() {
    let input = |body: Value, task| check_of(body, task, 1024).unwrap_err().remove(0).input;
    let size = json!({ "prompt": "x", "image_size": { "width": 200 } });
    assert_eq!(input(size, Task::Any), Some(json!({ "width": 200 })));
    let named = json!({ "prompt": "x", "image_size": { "width": 2048, "height": 1024, "unit": "px" } });
    assert_eq!(input(named.clone(), Task::Any), Some(named["image_size"].clone()));
    let body = json!({ "prompt": "x", "seed": 7, "image_size": "square", "strength": 0.5 });
    assert_eq!(input(body.clone(), Task::ImageToImage), Some(body));
}

#[test]
fn what_has_no_effect_is_accepted_and_an_expansion_is_warned_of() {
    let sent = json!({
        "enable_safety_checker": true, "safety_checker_version": "v1", "sync_mode": true, "expand_prompt": false,
        "request_id": "", "loras": [{ "path": "a", "scale": 1, "force": true }],
    });
    assert_eq!(check(sent).unwrap().warnings(), []);
    let spec = check(json!({ "expand_prompt": true })).unwrap();
    let codes: Vec<_> = spec.warnings().iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [WarningCode::PromptNotExpanded]);
    let stored: ImageSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(stored, spec);
    for field in ["enable_safety_checker", "sync_mode", "expand_prompt"] {
        assert_eq!(errors(check(json!({ field: "yes" }))), error(field, "bool_type"));
    }
}

#[test]
fn what_would_change_the_picture_is_refused_by_its_name() {
    for (field, value) in [
        ("ip_adapters", json!([{ "path": "ip" }])),
        ("ip_adapter", json!({ "path": "ip" })),
        ("prompt_weighting", json!(true)),
        ("model_name", json!("owner/name")),
        ("ip_adapters", json!([{}])),
        ("ip_adapter_scale", json!(0)),
        ("noise_strength", json!(0.0)),
        ("model_name", json!("default")),
        ("model_name", json!(false)),
        ("prediction_type", json!("v_prediction")),
        ("model_architecture", json!("sd")),
        ("preserve_aspect_ratio", json!(true)),
        ("prompt_2", json!("another")),
        ("negative_prompt_2", json!("another")),
        ("denoising_start", json!(0.5)),
        ("guess_mode", json!(true)),
        ("control_image", json!("https://example.com/a.png")),
        ("control_loras", json!([{ "path": "x" }])),
        ("controlnet_unions", json!([{ "path": "x" }])),
        ("easycontrols", json!([{ "control_method_url": "x" }])),
    ] {
        assert_eq!(errors(check(json!({ field: value }))), error(field, "feature_not_supported"));
    }
    let unused = json!({
        "embeddings": [], "controlnets": null, "ip_adapter": {}, "prompt_weighting": false, "eta": 0,
        "model_name": "", "timesteps": { "method": "default", "array": [] }, "sigmas": { "method": "default" },
        "prediction_type": "epsilon", "model_architecture": "sdxl", "preserve_aspect_ratio": false,
        "prompt_2": "", "denoising_start": 0, "guess_mode": false, "control_image": null, "control_loras": [],
        "controlnet_unions": [], "easycontrols": [],
    });
    assert!(check(unused).is_ok());
}

#[test]
fn lists_of_a_sampler_have_fals_form_or_ours() {
    let spec = |body: Value| {
        let spec = check(body).unwrap();
        (Value::Object(spec.scheduler_config().clone()), spec.num_inference_steps())
    };
    // A list of fal's replaces the number of steps.
    let timesteps =
        json!({ "timesteps": { "method": "array", "array": [999, 500] }, "num_inference_steps": 30 });
    assert_eq!(spec(timesteps), (json!({ "timesteps": [999, 500] }), 2));
    let sigmas =
        json!({ "sigmas": { "method": "array", "array": [14.5, 3, 0] }, "eta": 0.5, "timesteps": {} });
    assert_eq!(spec(sigmas), (json!({ "sigmas": [14.5, 3, 0], "eta": 0.5 }), 2));
    assert_eq!(spec(json!({ "sigmas": [9, 0], "scheduler_config": { "sigmas": [9.0, 0] } })).1, 1);
    let defaults = json!({
        "eta": 0.0, "sigmas": { "method": "default", "array": [3, 4] }, "timesteps": { "method": "default", "array": [1] },
        "scheduler_config": { "eta": 0.5 },
    });
    assert_eq!(spec(defaults), (json!({ "eta": 0.5 }), 20));
    for (body, place, kind) in [
        (json!({ "sigmas": { "method": "array" } }), "sigmas.array", "missing"),
        (json!({ "sigmas": { "method": "arrays", "array": [1, 0] } }), "sigmas.method", "one_of"),
        (json!({ "sigmas": { "method": "array", "array": [1, 2] } }), "sigmas.array", "not_descending"),
        (json!({ "timesteps": { "method": "array", "array": [1000] } }), "timesteps.array", "entry"),
        (json!({ "timesteps": "x" }), "timesteps", "list_type"),
        (json!({ "eta": { "method": "array" } }), "eta", "float_type"),
        (json!({ "eta": 0.5, "scheduler_config": { "eta": 0.25 } }), "eta", "excluded"),
        (
            json!({ "sigmas": { "method": "array", "array": [9, 0] }, "scheduler_config": { "sigmas": [8, 0] } }),
            "sigmas",
            "excluded",
        ),
        (json!({ "sigmas": [9, 0], "timesteps": [9] }), "sigmas", "excluded"),
        (json!({ "sigmas": [9, 0], "num_inference_steps": 2 }), "sigmas", "steps_differ"),
    ] {
        assert_eq!(errors(check(body.clone())), error(place, kind), "{body}");
    }
}

#[test]
fn a_controlnet_has_fals_names_and_ours() {
    let net = |members: Value| {
        let mut net = json!({ "path": "diffusers/canny", "image_url": png() });
        net.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        check(json!({ "controlnets": [net] }))
    };
    let spec = net(json!({})).unwrap();
    let read = &spec.controlnets()[0];
    assert_eq!((read.path().full_text(), read.image().width()), ("diffusers/canny".to_owned(), 64));
    assert_eq!((read.scale(), read.start(), read.end(), read.canny()), (1.0, 0.0, 1.0, None));
    let theirs =
        json!({ "conditioning_scale": 0.5, "start_percentage": 0.1, "end_percentage": 0.8, "variant": "x" });
    let spec = net(theirs).unwrap();
    let read = &spec.controlnets()[0];
    assert_eq!((read.scale(), read.start(), read.end()), (0.5, 0.1, 0.8));
    let both =
        net(json!({ "scale": 0.25, "conditioning_scale": 0.5, "end": 0.9, "end_percentage": 0.8 })).unwrap();
    assert_eq!((both.controlnets()[0].scale(), both.controlnets()[0].end()), (0.25, 0.9));
    // fal's members beside ours are not read.
    let ours = json!({ "scale": 0.25, "conditioning_scale": "x", "end": 0.9, "end_percentage": 7 });
    assert_eq!(net(ours).unwrap().controlnets()[0].scale(), 0.25);
    assert!(net(json!({ "mask_url": null, "guess_mode": false, "control_image_url": "" })).is_ok());
    for (members, field, kind) in [
        (json!({ "path": "https://me:x@example.com/a" }), "path", "controlnet_name"),
        (json!({ "image_url": null }), "image_url", "missing"),
        (json!({ "image_url": "https://example.com/a" }), "image_url", "feature_not_supported"),
        (json!({ "conditioning_scale": 2.5 }), "conditioning_scale", "less_than_equal"),
        (json!({ "end_percentage": 0 }), "end_percentage", "greater_than"),
        (json!({ "start_percentage": 0.5, "end_percentage": 0.5 }), "end_percentage", "empty_window"),
        (json!({ "scale": "x", "conditioning_scale": 1 }), "scale", "float_type"),
        (json!({ "mask_url": png() }), "mask_url", "feature_not_supported"),
        (json!({ "guess_mode": true }), "guess_mode", "feature_not_supported"),
        (json!({ "control_image_url": png() }), "control_image_url", "feature_not_supported"),
        (json!({ "ip_adapter_index": 0 }), "ip_adapter_index", "feature_not_supported"),
    ] {
        assert_eq!(errors(net(members)), error(&format!("controlnets.0.{field}"), kind), "{field}");
    }
}

#[test]
fn an_embedding_has_fals_tokens() {
    let embeddings = |members: Value| json!({ "embeddings": [members] });
    let url = "https://example.com/a.safetensors?token=x";
    for (members, path, tokens) in [
        (json!({ "path": url, "tokens": ["<a>", "<b>", "<c>"] }), url, &["<a>", "<b>", "<c>"][..]),
        (json!({ "path": "owner/name", "tokens": ["<a>"] }), "hf://owner/name", &["<a>"]),
        (json!({ "path": "ink", "token": "ink style", "tokens": null }), "ink", &["ink style"]),
        (json!({ "path": "ink" }), "ink", &["<s0>", "<s1>"]),
    ] {
        let spec = check(embeddings(members)).unwrap();
        let embedding = &spec.embeddings()[0];
        assert_eq!(
            (embedding.path().full_text(), embedding.tokens()),
            (path.to_owned(), &tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()[..])
        );
    }
    for (members, place, kind) in [
        (json!({ "path": "", "tokens": ["<a>"] }), "path", "string_too_short"),
        (json!({ "path": "../x", "tokens": ["<a>"] }), "path", "embedding_name"),
        (json!({ "path": "x", "tokens": "<a>" }), "tokens", "list_type"),
        (json!({ "path": "x", "tokens": [] }), "tokens", "sequence_length"),
        (json!({ "path": "x", "tokens": ["<a>", 7] }), "tokens.1", "string_type"),
        (json!({ "path": "x", "tokens": ["<a>", "<A>"] }), "tokens.1", "excluded"),
        (json!({ "path": "x", "tokens": [" <a>"] }), "tokens.0", "embedding_token"),
        (json!({ "path": "x", "token": 7, "tokens": [7] }), "token", "string_type"),
    ] {
        let place = format!("embeddings.0.{place}");
        assert_eq!(errors(check(embeddings(members.clone()))), error(&place, kind), "{members}");
    }
    assert!(check(embeddings(json!({ "path": "x", "token": "a", "tokens": 7 }))).is_ok());
    for (second, place) in [(json!({ "tokens": ["<a>", "<s0>"] }), "tokens.1"), (json!({}), "path")] {
        let mut second = second;
        second["path"] = json!("y");
        let two = json!({ "embeddings": [{ "path": "x" }, second] });
        assert_eq!(errors(check(two)), error(&format!("embeddings.1.{place}"), "excluded"));
    }
    assert_eq!(
        errors(check(json!({ "embeddings": [null] }))),
        error("embeddings.0", "model_attributes_type")
    );
}

#[test]
fn a_lora_is_a_file_of_the_workers() {
    let loras = |path: &str| json!({ "loras": [{ "path": path }] });
    for path in ["pixel", "pixel.safetensors", "styles/pixel.safetensors", "a/b/c"] {
        assert_eq!(check(loras(path)).unwrap().loras()[0].path().full_text(), path);
    }
    for path in ["https://example.com/a.safetensors", "HTTP://x", "owner/name", "owner/pixel-art.v2"] {
        assert_eq!(errors(check(loras(path))), error("loras.0.path", "feature_not_supported"), "{path}");
    }
    for path in ["../x", "/x", "c:x"] {
        assert_eq!(errors(check(loras(path))), error("loras.0.path", "lora_name"), "{path}");
    }
}

#[test]
fn an_endpoint_for_pictures_requires_them_and_has_fals_strength() {
    let both = json!({ "prompt": "x", "image_url": png(), "mask_url": png() });
    for (task, strength) in [(Task::Any, 0.9999), (Task::ImageToImage, 0.95), (Task::Inpainting, 0.95)] {
        assert_eq!(check_of(both.clone(), task, 1024).unwrap().strength(), strength, "{task:?}");
    }
    let one = json!({ "prompt": "x", "image_url": png() });
    assert_eq!(check_of(one.clone(), Task::Any, 1024).unwrap().strength(), 0.3);
    assert_eq!(check_of(one.clone(), Task::ImageToImage, 1024).unwrap().strength(), 0.95);
    assert_eq!(errors(check_of(one, Task::Inpainting, 1024)), error("mask_url", "missing"));
    let ours =
        json!({ "prompt": "x", "image": png(), "mask": png(), "strength": 0.5, "image_size": "square" });
    let spec = check_of(ours, Task::Inpainting, 1024).unwrap();
    assert_eq!((spec.strength(), spec.mask().map(InputImage::width)), (0.5, Some(64)));
    assert_eq!((spec.width(), spec.height()), (512, 512));
    let none = json!({ "prompt": "x", "strength": 0.5 });
    assert_eq!(errors(check_of(none.clone(), Task::ImageToImage, 1024)), error("image_url", "missing"));
    let missing = ["image_url", "mask_url"].map(|field| (field.to_owned(), "missing"));
    assert_eq!(errors(check_of(none, Task::Inpainting, 1024)), missing);
}
