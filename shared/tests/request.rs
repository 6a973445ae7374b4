//! The rules of a request, at their limits.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::needs::{Needs, Word};
use glimpse_shared::request::{
    Defaults, FieldError, ImageSpec, Loc, Lora, LoraPath, LoraSource, MAX_SEED, Offer, OutputFormat,
    PreviewSource, Unknown, parse_object,
};
use serde_json::{Value, json};

fn offer() -> Offer {
    Offer {
        native_width: 128,
        native_height: 96,
        max_pixels: 1024 * 1024,
        schedulers: ["EulerDiscreteScheduler".to_owned(), "DDIMScheduler".to_owned()].into(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    }
}

fn check_as(body: Value, unknown: Unknown) -> Result<ImageSpec, Vec<FieldError>> {
    check_for(body, unknown, &offer())
}

fn check_for(body: Value, unknown: Unknown, offer: &Offer) -> Result<ImageSpec, Vec<FieldError>> {
    let object = parse_object(body.to_string().as_bytes())?;
    ImageSpec::check(object, offer, Defaults { unknown, preview_source: PreviewSource::Latents })
}

fn check(body: Value) -> Result<ImageSpec, Vec<FieldError>> {
    check_as(body, Unknown::Refused)
}

#[test]
fn a_bare_prompt_gets_every_default() {
    let spec = check(json!({ "prompt": "a heart" })).unwrap();
    assert_eq!(spec.prompt(), "a heart");
    assert_eq!(spec.negative_prompt(), "blurry, low quality");
    assert_eq!((spec.num_inference_steps(), spec.guidance_scale(), spec.num_images()), (20, 5.0, 1));
    assert_eq!((spec.width(), spec.height()), (128, 96));
    assert!(spec.seed() < 1 << 32);
    assert_eq!((spec.scheduler(), spec.preview_source()), (None, PreviewSource::Latents));
    assert_eq!((spec.guidance_rescale(), spec.clip_skip(), spec.loras()), (0.0, None, &[][..]));
    assert_eq!(spec.output_format(), OutputFormat::Jpeg);
    let previews: Vec<u32> = (0..20).filter(|step| spec.has_preview_after(*step)).collect();
    assert_eq!(previews, [0, 5, 10, 15]);
}

#[test]
fn null_means_the_default() {
    let spec = check(json!({ "prompt": "x", "negative_prompt": null, "seed": null, "width": null })).unwrap();
    assert_eq!((spec.negative_prompt(), spec.width()), ("blurry, low quality", 128));
}

#[test]
fn values_at_the_limits_are_valid() {
    let good = json!([
        { "prompt": "x".repeat(10_000) },
        { "prompt": "🪁" },
        { "prompt": "x", "negative_prompt": "" },
        { "prompt": "x", "num_inference_steps": 1, "preview_every": 0 },
        { "prompt": "x", "num_inference_steps": 50.0, "preview_every": 50 },
        { "prompt": "x", "width": 64, "height": 2048 },
        { "prompt": "x", "width": 1024, "height": 1024 },
        { "prompt": "x", "guidance_scale": 0, "num_images": 4 },
        { "prompt": "x", "guidance_scale": 30.0, "seed": MAX_SEED },
        { "prompt": "x", "guidance_rescale": 0, "clip_skip": 0, "loras": [] },
        { "prompt": "x", "guidance_rescale": 1.0, "clip_skip": 12.0, "loras": null },
        { "prompt": "x", "scheduler": "DDIM", "output_format": "webp" },
        { "prompt": "x", "scheduler": "EulerDiscreteScheduler", "preview_source": "denoised" },
    ]);
    for body in good.as_array().unwrap() {
        assert!(check(body.clone()).is_ok(), "{body}");
    }
}

#[test]
fn every_wrong_value_names_its_field() {
    let wrong = [
        (json!({}), "prompt", "missing"),
        (json!({ "prompt": null }), "prompt", "missing"),
        (json!({ "prompt": 7 }), "prompt", "string_type"),
        (json!({ "prompt": "" }), "prompt", "string_too_short"),
        (json!({ "prompt": "x".repeat(10_001) }), "prompt", "string_too_long"),
        (json!({ "prompt": "x", "negative_prompt": [] }), "negative_prompt", "string_type"),
        (json!({ "prompt": "x", "num_inference_steps": 0 }), "num_inference_steps", "greater_than_equal"),
        (json!({ "prompt": "x", "num_inference_steps": 51 }), "num_inference_steps", "less_than_equal"),
        (json!({ "prompt": "x", "num_inference_steps": "20" }), "num_inference_steps", "int_type"),
        (json!({ "prompt": "x", "num_inference_steps": 2.5 }), "num_inference_steps", "int_from_float"),
        (json!({ "prompt": "x", "num_inference_steps": true }), "num_inference_steps", "int_type"),
        (json!({ "prompt": "x", "num_inference_steps": u64::MAX }), "num_inference_steps", "less_than_equal"),
        (
            json!({ "prompt": "x", "num_inference_steps": i64::MIN }),
            "num_inference_steps",
            "greater_than_equal",
        ),
        (json!({ "prompt": "x", "width": 7 }), "width", "greater_than_equal"),
        (json!({ "prompt": "x", "width": 65 }), "width", "multiple_of"),
        (json!({ "prompt": "x", "width": 1e9 }), "width", "less_than_equal"),
        (json!({ "prompt": "x", "height": 1e300 }), "height", "less_than_equal"),
        (json!({ "prompt": "x", "height": 2056 }), "height", "less_than_equal"),
        (json!({ "prompt": "x", "width": 1032, "height": 1024 }), "width", "less_than_equal"),
        (json!({ "prompt": "x", "width": 64, "height": 63 }), "height", "greater_than_equal"),
        (json!({ "prompt": "x", "guidance_scale": -0.1 }), "guidance_scale", "greater_than_equal"),
        (json!({ "prompt": "x", "guidance_scale": 30.5 }), "guidance_scale", "less_than_equal"),
        (json!({ "prompt": "x", "guidance_scale": "5" }), "guidance_scale", "float_type"),
        (json!({ "prompt": "x", "guidance_rescale": -0.1 }), "guidance_rescale", "greater_than_equal"),
        (json!({ "prompt": "x", "guidance_rescale": 1.1 }), "guidance_rescale", "less_than_equal"),
        (json!({ "prompt": "x", "guidance_rescale": [] }), "guidance_rescale", "float_type"),
        (json!({ "prompt": "x", "clip_skip": -1 }), "clip_skip", "greater_than_equal"),
        (json!({ "prompt": "x", "clip_skip": 13 }), "clip_skip", "less_than_equal"),
        (json!({ "prompt": "x", "clip_skip": 0.5 }), "clip_skip", "int_from_float"),
        (json!({ "prompt": "x", "loras": "a" }), "loras", "list_type"),
        (json!({ "prompt": "x", "loras": vec![json!({ "path": "a" }); 9] }), "loras", "sequence_too_long"),
        (json!({ "prompt": "x", "seed": -1 }), "seed", "greater_than_equal"),
        (json!({ "prompt": "x", "seed": MAX_SEED + 1 }), "seed", "less_than_equal"),
        (json!({ "prompt": "x", "num_images": 0 }), "num_images", "greater_than_equal"),
        (json!({ "prompt": "x", "num_images": 5 }), "num_images", "less_than_equal"),
        (json!({ "prompt": "x", "scheduler": "Magic" }), "scheduler", "one_of"),
        (json!({ "prompt": "x", "scheduler": {} }), "scheduler", "string_type"),
        (json!({ "prompt": "x", "preview_every": 51 }), "preview_every", "less_than_equal"),
        (json!({ "prompt": "x", "preview_source": "dreams" }), "preview_source", "one_of"),
        (json!({ "prompt": "x", "output_format": "gif" }), "output_format", "one_of"),
        (json!({ "prompt": "x", "promt": "y" }), "promt", "extra_forbidden"),
    ];
    for (body, field, kind) in wrong {
        let errors = check(body.clone()).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.field(), error.kind)).collect();
        assert_eq!(
            found,
            [(field.to_owned(), kind)],
            "{}",
            &body.to_string()[..body.to_string().len().min(90)]
        );
    }
}

#[test]
fn all_invalid_fields_are_reported_at_once() {
    let errors = check(json!({ "width": 7, "num_inference_steps": 0, "guidance_scale": -1 })).unwrap_err();
    let mut fields: Vec<_> = errors.iter().map(FieldError::field).collect();
    fields.sort();
    assert_eq!(fields, ["guidance_scale", "num_inference_steps", "prompt", "width"]);
}

#[test]
fn an_error_has_the_shape_that_fal_clients_read() {
    let errors = check(json!({ "prompt": "x", "num_inference_steps": 51 })).unwrap_err();
    let expected = json!([{
        "loc": ["body", "num_inference_steps"],
        "msg": "Input should be less than or equal to 50",
        "type": "less_than_equal",
        "input": 51,
        "ctx": { "le": 50 },
    }]);
    assert_eq!(serde_json::to_value(errors).unwrap(), expected);
}

#[test]
fn loras_are_read_with_their_scales() {
    let long = "é".repeat(255);
    let names = ["a", "styles/ink.safetensors", "..a/b..", "a b/ü~", "...", "-x", &long];
    let loras: Vec<_> = names.iter().map(|name| json!({ "path": name })).collect();
    let spec = check(json!({ "prompt": "x", "loras": loras })).unwrap();
    let read: Vec<_> = spec.loras().iter().map(|lora| (lora.path().full_text(), lora.scale())).collect();
    assert_eq!(read, names.map(|name| (name.to_owned(), 1.0)));

    let scales = [-10.0, -0.5, 0.0, 1.0, 10.0];
    let loras: Vec<_> = scales.iter().map(|scale| json!({ "path": "a", "scale": scale })).collect();
    let spec = check(json!({ "prompt": "x", "loras": loras })).unwrap();
    let read: Vec<_> = spec.loras().iter().map(|lora| lora.scale()).collect();
    assert_eq!(read, scales);
    let spec = check(json!({ "prompt": "x", "loras": [{ "path": "a", "scale": null }] })).unwrap();
    assert_eq!(spec.loras()[0].scale(), 1.0);
    assert_eq!(
        check(json!({ "prompt": "x", "loras": vec![json!({ "path": "a" }); 8] })).unwrap().loras().len(),
        8
    );
}

#[test]
fn a_lora_may_have_scales_of_its_own_for_the_unet_and_the_text_encoders() {
    let spec_of = |lora: Value| check(json!({ "prompt": "x", "loras": [lora] })).unwrap();
    let spec = spec_of(json!({ "path": "a", "scale": 0.5, "unet_scale": -10, "text_scale": 0 }));
    let lora = &spec.loras()[0];
    assert_eq!((lora.scale(), lora.unet_scale(), lora.text_scale()), (0.5, Some(-10.0), Some(0.0)));
    let plain = spec_of(json!({ "path": "a", "unet_scale": null }));
    let lora = &plain.loras()[0];
    assert_eq!((lora.scale(), lora.unet_scale(), lora.text_scale()), (1.0, None, None));

    // Stored as by the release before, and what that release has stored is read.
    let stored = serde_json::to_value(lora).unwrap();
    assert_eq!(stored, json!({ "path": "a", "scale": 1.0 }));
    assert_eq!(serde_json::from_value::<Lora>(stored).unwrap(), *lora);
    let stored = serde_json::to_value(&spec.loras()[0]).unwrap();
    assert_eq!(stored, json!({ "path": "a", "scale": 0.5, "unet_scale": -10.0, "text_scale": 0.0 }));
    assert_eq!(serde_json::from_value::<Lora>(stored).unwrap(), spec.loras()[0]);

    // Other scales are other weights.
    let affinities = [
        json!({ "path": "a" }),
        json!({ "path": "a", "unet_scale": 0.5 }),
        json!({ "path": "a", "text_scale": 0.5 }),
        json!({ "path": "a", "unet_scale": 0.5, "text_scale": 0.5 }),
    ]
    .map(|lora| spec_of(lora).affinity());
    for (i, affinity) in affinities.iter().enumerate() {
        assert!(!affinities[..i].contains(affinity), "{i}");
    }

    for (field, number, kind) in [
        ("unet_scale", json!(10.5), "less_than_equal"),
        ("text_scale", json!(-11), "greater_than_equal"),
        ("text_scale", json!("1"), "float_type"),
    ] {
        let errors = check(json!({ "prompt": "x", "loras": [{ "path": "a", field: number }] })).unwrap_err();
        assert_eq!((errors.len(), errors[0].kind), (1, kind), "{field}");
    }
}

#[test]
fn a_lora_is_never_outside_of_its_folder() {
    let long = "x".repeat(256);
    for name in [
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a/./b",
        "./a",
        "a\\b",
        "..\\a",
        "~",
        "~/a",
        "~root/a",
        "C:/a",
        "c:a",
        "ftp://example.com/a",
        "file:///a",
        "data:,",
        "a\0",
        "a\nb",
        "a\u{85}b",
        "\u{7f}",
        "/",
        "//",
        &long,
    ] {
        let errors = check(json!({ "prompt": "x", "loras": [{ "path": name }] })).unwrap_err();
        assert_eq!((errors.len(), errors[0].kind), (1, "lora_name"), "{name:?}");
        let stored = serde_json::to_string(name).unwrap();
        assert!(serde_json::from_str::<LoraPath>(&stored).is_err(), "{name:?} was read from the store");
    }
}

#[test]
fn a_lora_from_elsewhere_is_accepted_where_a_worker_loads_it() {
    let body = |path: &str| json!({ "prompt": "x", "loras": [{ "path": "a" }, { "path": path }] });
    let both = Offer { lora_sources: LoraSource::ALL.into(), ..offer() };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    for (path, source) in [
        ("https://example.com/a?token=x", LoraSource::Urls),
        ("hf://owner/name@v1/a.safetensors", LoraSource::Hub),
    ] {
        let errors = check(body(path)).unwrap_err();
        let loc = json!(["body", "loras", 1, "path"]);
        assert_eq!((errors.len(), errors[0].kind, json!(errors[0].loc)), (1, "feature_not_supported", loc));
        assert!(errors[0].msg.contains(source.flag()), "{}", errors[0].msg);
        let spec = ImageSpec::check(body(path).as_object().unwrap().clone(), &both, defaults).unwrap();
        assert_eq!(
            (spec.loras()[1].path().full_text(), spec.loras()[1].path().source()),
            (path.to_owned(), Some(source))
        );
        let stored: ImageSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(stored, spec);
    }
    // On our own wire this is a file in a folder.
    assert_eq!(check(body("owner/name")).unwrap().loras()[1].path().source(), None);
}

#[test]
fn an_error_in_a_list_has_its_index() {
    let loras = json!([
        { "path": "good" },
        { "path": "../bad", "scale": 10.5 },
        { "scale": "1" },
        "a",
        { "path": "", "scale": -11 },
        { "path": 7, "weight": 1, "width": 2 },
    ]);
    let located = |unknown| {
        let errors = check_as(json!({ "prompt": "x", "loras": loras }), unknown).unwrap_err();
        assert!(errors.iter().all(|error| error.field() == "loras"));
        errors.iter().map(|error| json!([error.loc, error.kind])).collect::<Vec<_>>()
    };
    let ignored = [
        json!([["body", "loras", 1, "path"], "lora_name"]),
        json!([["body", "loras", 1, "scale"], "less_than_equal"]),
        json!([["body", "loras", 2, "path"], "missing"]),
        json!([["body", "loras", 2, "scale"], "float_type"]),
        json!([["body", "loras", 3], "model_attributes_type"]),
        json!([["body", "loras", 4, "path"], "string_too_short"]),
        json!([["body", "loras", 4, "scale"], "greater_than_equal"]),
        json!([["body", "loras", 5, "path"], "string_type"]),
    ];
    assert_eq!(located(Unknown::Ignored), ignored);
    let refused = [
        json!([["body", "loras", 5, "weight"], "extra_forbidden"]),
        json!([["body", "loras", 5, "width"], "extra_forbidden"]),
    ];
    assert_eq!(located(Unknown::Refused), [&ignored[..], &refused].concat());
}

#[test]
fn unknown_fields_are_refused_or_ignored() {
    let body = json!({ "prompt": "x", "enable_safety_checker": true, "sync_mode": true });
    assert_eq!(check_as(body.clone(), Unknown::Refused).unwrap_err().len(), 2);
    assert!(check_as(body, Unknown::Ignored).is_ok());
}

#[test]
fn invalid_json_is_reported_for_the_body() {
    let bad: [&[u8]; 8] = [
        b"{\"prompt\": \"x\", \"guidance_scale\": NaN}",
        b"{\"prompt\": \"\\ud800\"}",
        b"{\"prompt\": \"\xff\xfe\"}",
        b"{\"prompt\": \"x\", \"seed\": 1e999}",
        b"{\"prompt\"",
        b"[1, 2]",
        b"\"text\"",
        b"null",
    ];
    for body in bad {
        let errors = parse_object(body).unwrap_err();
        let loc = serde_json::to_value(&errors[0].loc).unwrap();
        assert_eq!((errors.len(), &loc[0]), (1, &json!("body")), "{}", String::from_utf8_lossy(body));
    }
    assert!(parse_object(&b"[".repeat(100_000)).is_err());
    assert!(parse_object(b"").unwrap().is_empty());
    assert!(parse_object(b" \n").unwrap().is_empty());
}

#[test]
fn long_values_are_not_returned() {
    let errors = check(json!({ "prompt": "x".repeat(1 << 20), "seed": vec![0; 100_000] })).unwrap_err();
    assert!(serde_json::to_string(&errors).unwrap().len() < 2_000);
}

#[test]
fn a_spec_survives_the_store() {
    let spec = check(json!({
        "prompt": "Москва \"🪁\"", "guidance_scale": 7.3, "guidance_rescale": 0.7, "clip_skip": 0, "scheduler": "DDIM",
        "loras": [{ "path": "a/b", "scale": -0.1 }, { "path": "ü" }],
    }))
    .unwrap();
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<ImageSpec>(&stored).unwrap(), spec);
}

#[cfg(test)]
/// A picture as a data URI.
fn png() -> String {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(3, 2).write_to(&mut file, image::ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(file.into_inner()))
}

#[test]
fn controlnets_are_read_with_their_pictures_and_windows() {
    let net = |members: Value| {
        let mut net = json!({ "path": "canny", "image": png() });
        net.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        net
    };
    let spec = check(json!({ "prompt": "x", "controlnets": [
        net(json!({ "scale": 0, "start": 0.25, "end": 0.75 })),
        net(json!({ "path": "a/b.safetensors", "scale": 2, "preprocess": "canny", "low_threshold": 50 })),
    ] }))
    .unwrap();
    let [first, second] = spec.controlnets() else { panic!("two") };
    assert_eq!((first.scale(), first.start(), first.end(), first.canny()), (0.0, 0.25, 0.75, None));
    let canny = second.canny().unwrap();
    assert_eq!((second.scale(), canny.low(), canny.high()), (2.0, 50, 200));
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<ImageSpec>(&stored).unwrap(), spec);
    let plain = check(json!({ "prompt": "x", "controlnets": [] })).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("controlnets"), "as a release before wrote it");
    assert!(plain.affinity().is_none() && spec.affinity().is_some());
    for (members, field, kind) in [
        (json!({ "path": "../x" }), "path", "controlnet_name"),
        (json!({ "path": "hf://owner" }), "path", "controlnet_name"),
        (json!({ "path": null }), "path", "missing"),
        (json!({ "image": null }), "image", "missing"),
        (json!({ "image": "x" }), "image", "image_load_error"),
        (json!({ "scale": -0.1 }), "scale", "greater_than_equal"),
        (json!({ "start": 1 }), "start", "empty_window"),
        (json!({ "start": 0.6, "end": 0.5 }), "end", "empty_window"),
        (json!({ "preprocess": "depth" }), "preprocess", "one_of"),
        (json!({ "low_threshold": 1 }), "low_threshold", "missing_preprocess"),
        (json!({ "preprocess": "canny", "low_threshold": 201 }), "low_threshold", "thresholds"),
        (json!({ "preprocess": "canny", "high_threshold": 99 }), "high_threshold", "thresholds"),
        (json!({ "preprocess": "canny", "high_threshold": 2041 }), "high_threshold", "less_than_equal"),
        (json!({ "conditioning_scale": 1 }), "conditioning_scale", "extra_forbidden"),
    ] {
        let errors = check(json!({ "prompt": "x", "controlnets": [net(members)] })).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.loc.last(), error.kind)).collect();
        assert_eq!(found, [(Some(&Loc::Name(field.to_owned())), kind)]);
    }
    let four = json!({ "prompt": "x", "controlnets": vec![net(json!({})); 4] });
    assert_eq!(check(four).unwrap_err()[0].kind, "sequence_too_long");
}

/// `OWNER/NAME` is a folder, and on the Hub too if a worker loads ControlNets from there.
#[test]
fn a_controlnet_is_in_the_folder_on_the_hub_or_at_a_url() {
    let spec = |path: &str, controlnet_hub: bool| {
        let offer = Offer { controlnet_hub, ..offer() };
        let body = json!({ "prompt": "x", "controlnets": [{ "path": path, "image": png() }] });
        check_for(body, Unknown::Refused, &offer).unwrap()
    };
    let url = "https://example.com/net.safetensors?token=x";
    for (path, controlnet_hub, full, word) in [
        ("canny", true, "canny", "controlnets"),
        ("xinsir/canny", false, "xinsir/canny", "controlnets"),
        ("xinsir/canny", true, "hf://xinsir/canny", "controlnet_hub"),
        ("xinsir/canny.safetensors", true, "xinsir/canny.safetensors", "controlnets"),
        ("hf://xinsir/canny@main", false, "hf://xinsir/canny@main", "controlnet_hub"),
        (url, true, url, "controlnet_urls"),
    ] {
        let spec = spec(path, controlnet_hub);
        assert_eq!(spec.controlnets()[0].path().full_text(), full);
        let needs = Needs::of(&spec);
        let words: Vec<_> = needs.words().cloned().collect();
        assert_eq!(words, [Word::feature(word)], "{path}");
        assert!(!spec.controlnets()[0].path().to_string().contains("token"));
    }
    // As the release before stored it.
    let stored = serde_json::to_value(spec("xinsir/canny", false)).unwrap();
    assert_eq!(stored["controlnets"][0]["path"], "xinsir/canny");
}

#[test]
fn a_spec_of_an_older_release_is_read() {
    let stored = json!({
        "prompt": "x", "negative_prompt": "", "num_inference_steps": 20, "width": 64, "height": 64,
        "guidance_scale": 5.0, "seed": 1, "num_images": 1, "preview_every": 5, "preview_source": "latents",
        "output_format": "png",
    });
    let spec: ImageSpec = serde_json::from_value(stored).unwrap();
    assert_eq!((spec.guidance_rescale(), spec.clip_skip(), spec.strength()), (0.0, None, 1.0));
    assert!(spec.loras().is_empty() && spec.image().is_none());
}

#[test]
fn a_prompt_in_a1111_syntax_names_loras_and_is_checked() {
    let spec =
        check(json!({ "prompt": "a (fox:1.2) <lora:ink:0.5><lora:styles/oil>", "prompt_syntax": "a1111",
        "loras": [{ "path": "first" }] }))
        .unwrap();
    let loras: Vec<_> = spec.loras().iter().map(|lora| (lora.path().to_string(), lora.scale())).collect();
    assert_eq!(
        loras,
        [("first", 1.0), ("ink", 0.5), ("styles/oil", 1.0)].map(|(name, scale)| (name.to_owned(), scale))
    );
    assert!(spec.prompt().contains("<lora:ink:0.5>"), "{}", spec.prompt());
    for (field, body) in [
        ("prompt", json!({ "prompt": "a [fox:cat:0.5]" })),
        ("prompt", json!({ "prompt": "a fox AND a cat" })),
        ("prompt", json!({ "prompt": "<lora:../x:1>" })),
        ("prompt", json!({ "prompt": "<lora:x:11>" })),
        ("prompt", json!({ "prompt": "<lora:x>".repeat(9) })),
        ("negative_prompt", json!({ "prompt": "x", "negative_prompt": "[a|b]" })),
    ] {
        let mut body = body;
        assert!(check(body.clone()).is_ok(), "plain {body}");
        body["prompt_syntax"] = "a1111".into();
        let errors = check(body.clone()).unwrap_err();
        assert_eq!(errors.iter().map(FieldError::field).collect::<Vec<_>>(), [field], "{body}");
    }
    let errors = check(json!({ "prompt": "x", "prompt_syntax": "comfy", "long_prompt": 1 })).unwrap_err();
    assert_eq!(errors.iter().map(FieldError::field).collect::<Vec<_>>(), ["prompt_syntax", "long_prompt"]);
}

#[test]
fn a_job_in_parts_has_bounds() {
    let spec = check(json!({ "prompt": "x", "denoising_end": 0.8, "aesthetic_score": 7 })).unwrap();
    assert_eq!((spec.denoising_end(), spec.aesthetic_score()), (Some(0.8), Some(7.0)));
    assert_eq!((spec.negative_aesthetic_score(), spec.hires(), spec.steps_to_take()), (None, None, 20));
    let spec = check(json!({ "prompt": "x", "width": 328, "height": 96, "hires": {} })).unwrap();
    let hires = spec.hires().unwrap();
    assert_eq!((hires.scale(), hires.strength(), hires.steps()), (1.5, 0.3, 20));
    assert_eq!(
        (spec.largest(), spec.steps_to_take()),
        ((496, 144), 26),
        "328 * 1.5 is 492, between two multiples"
    );
    let stored = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<ImageSpec>(stored).unwrap(), spec);
    let plain = serde_json::to_value(check(json!({ "prompt": "x" })).unwrap()).unwrap();
    assert!(plain.get("parts").is_none(), "workers of the release before read it: {plain}");
    let one = check(json!({ "prompt": "x", "hires": { "steps": 2 } })).unwrap();
    assert_eq!(one.steps_to_take(), 21, "the default strength leaves a step");
    for (field, members) in [
        ("denoising_end", json!({ "denoising_end": 0 })),
        ("denoising_end", json!({ "denoising_end": 1 })),
        ("aesthetic_score", json!({ "aesthetic_score": 11 })),
        ("negative_aesthetic_score", json!({ "negative_aesthetic_score": -1 })),
        ("padding_mask_crop", json!({ "padding_mask_crop": 32 })),
        ("hires", json!({ "hires": 2 })),
        ("hires", json!({ "hires": {}, "denoising_end": 0.5 })),
        ("scale", json!({ "hires": { "scale": 0.5 } })),
        ("scale", json!({ "hires": { "scale": 4 }, "width": 512, "height": 512 })),
        ("strength", json!({ "hires": { "strength": 0.1, "steps": 3 } })),
        ("steps", json!({ "hires": { "steps": 51 } })),
        ("size", json!({ "hires": { "size": 2 } })),
    ] {
        let mut body = json!({ "prompt": "x" });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let errors = check(body).unwrap_err();
        let last = errors[0].loc.last().cloned();
        assert_eq!((errors.len(), last), (1, Some(Loc::Name(field.to_owned()))), "{members}: {errors:?}");
    }
}

#[test]
fn an_embedding_is_a_file_and_a_token() {
    let body = |embeddings: Value| json!({ "prompt": "x", "embeddings": embeddings });
    let tokens =
        |embedding: Value| check(body(json!([embedding]))).unwrap().embeddings()[0].tokens().to_vec();
    assert_eq!(tokens(json!({ "path": "ink", "token": "<my ink>" })), ["<my ink>"]);
    for (path, token) in [
        ("styles/Ink.safetensors", "Ink"),
        ("ink", "ink"),
        ("hf://owner/name", "name"),
        ("hf://owner/name/in/ink.safetensors", "ink"),
        ("https://example.com/a/ink.safetensors?token=secret", "ink"),
    ] {
        assert_eq!(tokens(json!({ "path": path })), [token], "{path}");
    }
    let long = "x".repeat(65);
    for (embedding, place, kind) in [
        (json!({ "path": "x", "token": "" }), "token", "string_too_short"),
        (json!({ "path": "x", "token": long }), "token", "string_too_long"),
        (json!({ "path": long }), "path", "embedding_token"),
        (json!({ "path": "x", "token": " a" }), "token", "embedding_token"),
        (json!({ "path": "x", "token": "a\n" }), "token", "embedding_token"),
        (json!({ "path": "../x", "token": "a" }), "path", "embedding_name"),
        (json!({ "path": "http://", "token": "a" }), "path", "embedding_name"),
        (json!({ "path": "x", "tokens": ["a"] }), "tokens", "extra_forbidden"),
        (json!({ "token": "a" }), "path", "missing"),
    ] {
        let errors = check(body(json!([embedding]))).unwrap_err();
        let loc = json!(["body", "embeddings", 0, place]);
        assert_eq!((errors.len(), json!(errors[0].loc), errors[0].kind), (1, loc, kind), "{embedding}");
    }
    let twice = json!([{ "path": "a", "token": "Ink" }, { "path": "b", "token": "ink" }]);
    let errors = check(body(twice)).unwrap_err();
    let path = errors[0].path().unwrap();
    assert_eq!((errors.len(), errors[0].kind, &path[..]), (1, "excluded", "embeddings[1].token"));
    // As the tokenizer: letter by letter, and all spaces are one. Without a token the path gives it.
    for (first, second, place) in [
        (json!({ "path": "a", "token": "ΟΔΟΣ" }), json!({ "path": "b", "token": "οδοσ" }), "token"),
        (json!({ "path": "a", "token": "my  ink" }), json!({ "path": "b", "token": "my ink" }), "token"),
        (json!({ "path": "one/ink" }), json!({ "path": "two/Ink" }), "path"),
    ] {
        let errors = check(body(json!([first, second]))).unwrap_err();
        assert_eq!(errors[0].path().unwrap(), format!("embeddings[1].{place}"), "{second}");
    }
    let nine = json!((0..9).map(|i| json!({ "path": format!("{i}") })).collect::<Vec<_>>());
    assert_eq!(check(body(nine)).unwrap_err()[0].kind, "sequence_too_long");
}

#[test]
fn each_picture_may_have_its_own_seed() {
    let with = |members: Value| {
        let mut body = json!({ "prompt": "x" });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        check(body)
    };
    for members in [json!({ "seeds": [7, 3] }), json!({ "seeds": [7, 3], "num_images": 2, "seed": null })] {
        let spec = with(members).unwrap();
        assert_eq!((spec.seed(), spec.seeds(), spec.num_images()), (7, &[7, 3][..], 2));
    }
    let one = with(json!({ "seed": 7, "num_images": 2 })).unwrap();
    assert_eq!((one.seed(), one.seeds(), one.num_images()), (7, &[][..], 2));
    for (members, field, kind) in [
        (json!({ "seeds": [7, 3], "seed": 7 }), "seed", "excluded"),
        (json!({ "seeds": [7, 3], "num_images": 3 }), "seeds", "sequence_length"),
        (json!({ "seeds": [] }), "seeds", "sequence_length"),
        (json!({ "seeds": [1, 2, 3, 4, 5] }), "seeds", "sequence_length"),
        (json!({ "seeds": 7 }), "seeds", "list_type"),
        (json!({ "seeds": [7, null] }), "seeds[1]", "int_type"),
        (json!({ "seeds": [7, 0.5] }), "seeds[1]", "int_from_float"),
        (json!({ "seeds": [MAX_SEED + 1] }), "seeds[0]", "less_than_equal"),
    ] {
        let errors = with(members.clone()).unwrap_err();
        assert_eq!(
            (errors.len(), errors[0].path(), errors[0].kind),
            (1, Some(field.to_owned()), kind),
            "{members}"
        );
    }
    assert_eq!(with(json!({ "seeds": [null, 7, -1] })).unwrap_err().len(), 2);
}

/// Workers of the release before ignore these fields, and read the stored jobs of requests without them.
#[test]
fn embeddings_and_seeds_need_workers_that_know_them() {
    let spec = |members: &str| {
        check(serde_json::from_str(&format!(r#"{{"prompt":"x"{members}}}"#)).unwrap()).unwrap()
    };
    let features = |members: &str| -> Vec<&str> {
        glimpse_shared::needs::features_of(&spec(members)).map(|needed| needed.feature).collect()
    };
    assert_eq!(features(r#","embeddings":[{"path":"a"}]"#), ["embeddings"]);
    assert_eq!(
        features(r#","embeddings":[{"path":"https://a/b"},{"path":"hf://a/b/c.safetensors"}]"#),
        ["embedding_hub", "embedding_urls"]
    );
    assert_eq!(features(r#","seeds":[1]"#), ["seeds"]);
    let plain = serde_json::to_value(spec("")).unwrap();
    assert!(plain.get("embeddings").is_none() && plain.get("seeds").is_none());
    let both = spec(r#","embeddings":[{"path":"a","token":"b c"}],"seeds":[1,2]"#);
    let stored = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<ImageSpec>(&stored).unwrap(), both);
}
