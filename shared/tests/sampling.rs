//! The fields of a request that choose a sampler, and the tables of their document.

use std::fmt::Write as _;
use std::path::PathBuf;

use glimpse_shared::{
    needs::{Capabilities, Needs, Word},
    request::{
        Defaults, FieldError, ImageSpec, NamedScheduler, Offer, PreviewSource, Unknown,
        limits::{KeyRule, MAX_LISTED, PRESETS, SCHEDULER_KEYS},
        parse_object,
    },
};
use serde_json::{Value, json};

fn classes() -> Vec<String> {
    let mut classes: Vec<_> = NamedScheduler::all().map(|(_, class, _)| class.to_owned()).collect();
    classes.dedup();
    classes
}

fn offering(schedulers: impl IntoIterator<Item = String>) -> Offer {
    Offer {
        native_width: 128,
        native_height: 96,
        max_pixels: 1024 * 1024,
        schedulers: schedulers.into_iter().collect(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    }
}

fn check_for(body: Value, offer: &Offer, unknown: Unknown) -> Result<ImageSpec, Vec<FieldError>> {
    let mut body = parse_object(body.to_string().as_bytes())?;
    body.insert("prompt".to_owned(), "a heart".into());
    ImageSpec::check(body, offer, Defaults { unknown, preview_source: PreviewSource::Latents })
}

fn check(body: Value) -> Result<ImageSpec, Vec<FieldError>> {
    check_for(body, &offering(classes()), Unknown::Refused)
}

#[cfg(test)]
fn chosen(body: Value) -> (Option<String>, Value, u32, f64) {
    let spec = check(body).unwrap();
    let config = Value::Object(spec.scheduler_config().clone());
    (spec.scheduler().map(str::to_owned), config, spec.num_inference_steps(), spec.guidance_scale())
}

#[test]
fn every_name_that_people_use_is_known() {
    let karras = json!({ "use_karras_sigmas": true });
    let sde = json!({ "algorithm_type": "sde-dpmsolver++" });
    let sde_karras = json!({ "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": true });
    let (multi, single) = ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler");
    let (euler, ancestral) = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler");
    let trailing = json!({ "timestep_spacing": "trailing" });
    let beta = json!({ "timestep_spacing": "linspace", "use_beta_sigmas": true });
    let exponential = json!({ "timestep_spacing": "linspace", "use_exponential_sigmas": true });
    for (name, class, config) in [
        ("DPM++ 2M Karras", multi, &karras),
        ("dpmpp_2m_karras", multi, &karras),
        ("DPM++ 2M", multi, &json!({})),
        ("dpmpp_2m", multi, &json!({})),
        ("k_dpmpp_2m", multi, &json!({})),
        ("dpmpp_2m_k", multi, &karras),
        ("KarrasDPM", multi, &karras),
        ("DPM++ 2M SDE", multi, &sde),
        ("DPM++ 2M SDE Karras", multi, &sde_karras),
        ("dpmpp_2m_sde_karras", multi, &sde_karras),
        ("dpmpp_3m", multi, &json!({ "solver_order": 3 })),
        ("DPM++ SDE", "DPMSolverSDEScheduler", &json!({})),
        ("dpmpp_sde", "DPMSolverSDEScheduler", &json!({})),
        ("DPM++ SDE Karras", "DPMSolverSDEScheduler", &karras),
        ("dpmpp_2s", single, &json!({})),
        ("DPMSolverSinglestep", single, &json!({})),
        ("Euler a", ancestral, &json!({})),
        ("euler_ancestral", ancestral, &json!({})),
        ("K_EULER_ANCESTRAL", ancestral, &json!({})),
        ("Euler", euler, &json!({})),
        ("k_euler", euler, &json!({})),
        ("euler_karras", euler, &karras),
        ("euler_exponential", euler, &exponential),
        ("Euler beta", euler, &beta),
        ("euler-sgm-uniform", euler, &trailing),
        ("Euler simple", euler, &trailing),
        ("Euler (trailing timesteps)", euler, &trailing),
        ("ddim", "DDIMScheduler", &json!({})),
        ("ddim_trailing", "DDIMScheduler", &trailing),
        ("uni_pc", "UniPCMultistepScheduler", &json!({})),
        ("UniPC Karras", "UniPCMultistepScheduler", &karras),
        ("uni_pc_bh2", "UniPCMultistepScheduler", &json!({ "solver_type": "bh2" })),
        ("heun", "HeunDiscreteScheduler", &json!({})),
        ("LMS Karras", "LMSDiscreteScheduler", &karras),
        ("lms", "LMSDiscreteScheduler", &json!({})),
        ("DPM2", "KDPM2DiscreteScheduler", &json!({})),
        ("dpm_2", "KDPM2DiscreteScheduler", &json!({})),
        ("k_dpm_2", "KDPM2DiscreteScheduler", &json!({})),
        ("DPM2 a", "KDPM2AncestralDiscreteScheduler", &json!({})),
        ("dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", &json!({})),
        ("DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", &karras),
        ("deis", "DEISMultistepScheduler", &json!({})),
        ("lcm", "LCMScheduler", &json!({})),
        ("TCD", "TCDScheduler", &json!({})),
        ("ddpm", "DDPMScheduler", &json!({})),
        ("PLMS", "PNDMScheduler", &json!({})),
        ("pndm", "PNDMScheduler", &json!({})),
        ("EDMDPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler", &json!({})),
    ] {
        for name in [name.to_owned(), name.to_uppercase(), name.replace(['_', ' '], "-")] {
            let (scheduler, found, ..) = chosen(json!({ "scheduler": name }));
            assert_eq!((scheduler.as_deref(), &found), (Some(class), config), "{name}");
        }
    }
}

#[test]
fn another_name_is_refused_with_the_offered_names() {
    for name in [
        "Magic",
        "",
        "Euler Magic",
        "Euler a Karras",
        "dpmpp_2s_karras_trailing",
        "DPM++ 2S trailing",
        "karras",
        "🪁",
    ] {
        let errors = check(json!({ "scheduler": name })).expect_err(name);
        let ctx = errors[0].ctx.clone().unwrap();
        assert_eq!((&*errors[0].field(), errors[0].kind), ("scheduler", "one_of"), "{name}");
        assert_eq!(ctx["expected"].as_array().unwrap().len(), 18, "{name}");
    }
    // A known sampler that no worker has.
    let offer = offering(["EulerDiscreteScheduler".to_owned(), "Own sampler".to_owned()]);
    let errors = check_for(json!({ "scheduler": "DDIM" }), &offer, Unknown::Ignored).unwrap_err();
    assert_eq!(errors[0].ctx, Some(json!({ "expected": ["EulerDiscreteScheduler", "Own sampler"] })));
    // A worker's own name goes before ours.
    let spec = check_for(json!({ "scheduler": "Own sampler" }), &offer, Unknown::Ignored).unwrap();
    assert_eq!(spec.scheduler(), Some("Own sampler"));
}

#[test]
fn explicit_settings_win_over_a_name_and_a_preset() {
    let config = json!({ "use_karras_sigmas": false, "solver_order": 3.0, "eta": null, "s_noise": 1 });
    let (scheduler, config, ..) =
        chosen(json!({ "scheduler": "DPM++ 2M Karras", "scheduler_config": config }));
    assert_eq!(scheduler.as_deref(), Some("DPMSolverMultistepScheduler"));
    assert_eq!(config, json!({ "solver_order": 3, "use_karras_sigmas": false, "s_noise": 1.0 }));
    // Without a scheduler, the changes are to the checkpoint's own.
    let own = chosen(json!({ "scheduler_config": { "timestep_spacing": "trailing" } }));
    assert_eq!(own, (None, json!({ "timestep_spacing": "trailing" }), 20, 5.0));
    assert_eq!(chosen(json!({ "scheduler_config": {} })), chosen(json!({})));

    let euler = Some("EulerDiscreteScheduler".to_owned());
    let trailing = json!({ "timestep_spacing": "trailing" });
    assert_eq!(chosen(json!({ "preset": "lightning" })), (euler.clone(), trailing.clone(), 4, 0.0));
    let explicit = json!({
        "preset": "lightning", "num_inference_steps": 8, "guidance_scale": 1.5,
        "scheduler_config": { "timestep_spacing": "leading" },
    });
    assert_eq!(chosen(explicit), (euler, json!({ "timestep_spacing": "leading" }), 8, 1.5));
    let ddim = chosen(json!({ "preset": "lightning", "scheduler": "DDIM" }));
    assert_eq!(ddim, (Some("DDIMScheduler".to_owned()), trailing, 4, 0.0));

    let lcm = Some("LCMScheduler".to_owned());
    let listed = json!({ "timesteps": [999, 749, 499, 249] });
    assert_eq!(chosen(json!({ "preset": "dmd2" })), (lcm.clone(), listed.clone(), 4, 0.0));
    assert_eq!(chosen(json!({ "preset": "dmd2", "num_inference_steps": 4 })).1, listed);
    // The preset's list is for its own sampler and steps.
    assert_eq!(chosen(json!({ "preset": "dmd2", "num_inference_steps": 2 })), (lcm, json!({}), 2, 0.0));
    assert_eq!(chosen(json!({ "preset": "dmd2", "scheduler": "TCD" })).1, json!({}));
    let sigmas =
        json!({ "preset": "dmd2", "scheduler": "euler", "scheduler_config": { "sigmas": [9, 2, 0] } });
    assert_eq!(chosen(sigmas).1, json!({ "sigmas": [9, 2, 0] }));
    for preset in PRESETS {
        assert_eq!(chosen(json!({ "preset": preset.name })).0.as_deref(), Some(preset.scheduler));
    }
    let offer = offering(["DDIMScheduler".to_owned()]);
    let errors = check_for(json!({ "preset": "lcm" }), &offer, Unknown::Ignored).unwrap_err();
    assert!(errors[0].field() == "preset" && errors[0].msg.contains("LCMScheduler"), "{errors:?}");
}

#[test]
fn the_steps_are_those_of_a_list() {
    let (_, config, steps, _) =
        chosen(json!({ "scheduler": "euler", "scheduler_config": { "sigmas": [14.6, 3, 0.5, 0] } }));
    assert_eq!((config, steps), (json!({ "sigmas": [14.6, 3, 0.5, 0] }), 3));
    let long: Vec<u64> = (0..MAX_LISTED as u64).rev().collect();
    let with = |config: Value, steps: Value| {
        check(json!({ "scheduler_config": config, "num_inference_steps": steps }))
            .map(|s| s.num_inference_steps())
    };
    assert_eq!(with(json!({ "timesteps": long }), Value::Null), Ok(150));
    assert_eq!(with(json!({ "timesteps": [999, 0] }), json!(2)), Ok(2));
    let errors = with(json!({ "timesteps": [999, 0] }), json!(20)).unwrap_err();
    let loc = serde_json::to_value(&errors[0].loc).unwrap();
    assert_eq!((loc, errors[0].kind), (json!(["body", "scheduler_config", "timesteps"]), "steps_differ"));
}

#[test]
fn a_request_itself_may_have_the_arguments_of_a_sampler() {
    let sigmas = json!([14.6, 3, 0.5, 0]);
    let inside =
        chosen(json!({ "scheduler": "euler", "scheduler_config": { "sigmas": sigmas, "eta": 0.5 } }));
    assert_eq!(chosen(json!({ "scheduler": "euler", "sigmas": sigmas, "eta": 0.5 })), inside);
    // The same value twice is no contradiction.
    let twice =
        json!({ "scheduler": "euler", "sigmas": sigmas, "eta": 0.5, "scheduler_config": { "eta": 0.5 } });
    assert_eq!(chosen(twice), inside);
    let (_, config, steps, _) =
        chosen(json!({ "timesteps": [999, 500], "scheduler_config": { "s_churn": 1 } }));
    assert_eq!((config, steps), (json!({ "timesteps": [999, 500], "s_churn": 1.0 }), 2));
    // The list of a preset gives way.
    assert_eq!(
        chosen(json!({ "preset": "dmd2", "timesteps": [999, 0] })).1,
        json!({ "timesteps": [999, 0] })
    );
    let at = |place: &[&str]| json!([&["body"], place].concat());
    for (body, place, kind) in [
        (json!({ "sigmas": [3] }), at(&["sigmas"]), "sequence_too_short"),
        (json!({ "sigmas": { "method": "array", "array": [3, 0] } }), at(&["sigmas"]), "list_type"),
        (json!({ "timesteps": [1000] }), at(&["timesteps"]), "entry"),
        (json!({ "eta": 2 }), at(&["eta"]), "less_than_equal"),
        (json!({ "eta": 0.5, "scheduler_config": { "eta": 0.25 } }), at(&["eta"]), "excluded"),
        (json!({ "sigmas": [3, 0], "scheduler_config": { "timesteps": [9] } }), at(&["sigmas"]), "excluded"),
        (
            json!({ "timesteps": [9], "scheduler_config": { "sigmas": [3, 0] } }),
            at(&["scheduler_config", "sigmas"]),
            "excluded",
        ),
        (
            json!({ "sigmas": [3, 0], "scheduler_config": { "use_beta_sigmas": true } }),
            at(&["sigmas"]),
            "excluded",
        ),
        (json!({ "timesteps": [999, 0], "num_inference_steps": 3 }), at(&["timesteps"]), "steps_differ"),
    ] {
        let errors = check(body).unwrap_err();
        let found = (serde_json::to_value(&errors[0].loc).unwrap(), errors[0].kind);
        assert_eq!((errors.len(), found), (1, (place, kind)), "{errors:?}");
    }
}

#[test]
fn every_wrong_setting_is_named() {
    for (config, key, kind) in [
        (json!({ "use_karas_sigmas": true }), "use_karas_sigmas", "extra_forbidden"),
        (json!({ "use_karras_sigmas": "yes" }), "use_karras_sigmas", "bool_type"),
        (json!({ "timestep_spacing": "Trailing" }), "timestep_spacing", "one_of"),
        (json!({ "algorithm_type": "dpmsolver" }), "algorithm_type", "one_of"),
        (json!({ "eta": 1.5 }), "eta", "less_than_equal"),
        (json!({ "eta": -0.1 }), "eta", "greater_than_equal"),
        (json!({ "solver_order": 4 }), "solver_order", "less_than_equal"),
        (json!({ "solver_order": 1.5 }), "solver_order", "int_from_float"),
        (json!({ "beta_start": 0 }), "beta_start", "greater_than"),
        (json!({ "sigmas": 3 }), "sigmas", "list_type"),
        (json!({ "sigmas": [3] }), "sigmas", "sequence_too_short"),
        (json!({ "timesteps": [] }), "timesteps", "sequence_too_short"),
        (json!({ "timesteps": vec![1; 151] }), "timesteps", "sequence_too_long"),
        (json!({ "timesteps": [1000] }), "timesteps", "entry"),
        (json!({ "timesteps": [9.5] }), "timesteps", "entry"),
        (json!({ "timesteps": ["9"] }), "timesteps", "entry"),
        (json!({ "sigmas": [3, -1] }), "sigmas", "entry"),
        (json!({ "sigmas": [3, 3] }), "sigmas", "not_descending"),
        (json!({ "sigmas": [3, 0], "timesteps": [999] }), "sigmas", "excluded"),
        (json!({ "sigmas": [3, 0], "use_beta_sigmas": true }), "sigmas", "excluded"),
        (json!({ "use_karras_sigmas": true, "use_beta_sigmas": true }), "use_beta_sigmas", "excluded"),
    ] {
        // On every wire.
        let body = json!({ "scheduler_config": config });
        let errors = check_for(body, &offering(classes()), Unknown::Ignored).expect_err(key);
        let found = (serde_json::to_value(&errors[0].loc).unwrap(), errors[0].kind);
        assert_eq!(found, (json!(["body", "scheduler_config", key]), kind), "{errors:?}");
    }
    let errors = check(json!({ "scheduler_config": [], "preset": "fast" })).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.field(), error.kind)).collect();
    let expected = [("preset", "one_of"), ("scheduler_config", "model_attributes_type")];
    assert_eq!(found, expected.map(|(field, kind)| (field.to_owned(), kind)));
}

/// A worker of before has the class, and would ignore the changes.
#[test]
fn changes_need_a_worker_that_reads_them() {
    let needs = |body| Needs::of(&check(body).unwrap());
    let euler = || Word::scheduler("EulerDiscreteScheduler");
    let before = Capabilities::new(1 << 20, [euler()]);
    let after = Capabilities::new(1 << 20, [euler(), Word::feature("scheduler_config")]);
    for (body, by_before) in [
        (json!({}), true),
        (json!({ "scheduler": "k_euler" }), true),
        (json!({ "scheduler": "Euler Karras" }), false),
        (json!({ "preset": "lightning" }), false),
        (json!({ "scheduler_config": { "eta": 0.5 } }), false),
    ] {
        let needs = needs(body);
        assert_eq!((needs.met_by(&before), needs.met_by(&after)), (by_before, true), "{needs}");
    }
    // What is stored is the same again, and without changes it is what it was before.
    let spec = check(json!({ "scheduler": "DPM++ 2M Karras" })).unwrap();
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<ImageSpec>(&text).unwrap(), spec);
    assert!(!serde_json::to_string(&check(json!({})).unwrap()).unwrap().contains("scheduler_config"));
}

fn names(list: &[&str]) -> String {
    list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn changes(config: &str) -> String {
    if config == "{}" { String::new() } else { format!("`{config}`") }
}

fn rule(rule: KeyRule) -> String {
    match rule {
        KeyRule::Flag => "true or false".to_owned(),
        KeyRule::Word(words) => names(words),
        KeyRule::Number(least, most) => format!("{least} to {most}"),
        KeyRule::Above0(most) => format!("above 0 to {most}"),
        KeyRule::Integer(least, most) => format!("a whole number, {least} to {most}"),
        KeyRule::Sigmas => format!(
            "2 to {MAX_LISTED} noise levels, each below the one before; the last is that after the last step"
        ),
        KeyRule::Timesteps => format!("1 to {MAX_LISTED} timesteps from 999 to 0, each below the one before"),
    }
}

/// The generated part of the document.
fn tables() -> String {
    let mut text = String::from("| names | class | changes to its configuration |\n|---|---|---|\n");
    for (list, class, config) in NamedScheduler::all() {
        let _ = writeln!(text, "| {} | `{class}` | {} |", names(list), changes(config));
    }
    text += "\n| ending | changes | not after |\n|---|---|---|\n";
    for (list, config, not) in NamedScheduler::endings() {
        let not: Vec<_> = not.iter().map(|class| class.trim_end_matches("Scheduler")).collect();
        let _ = writeln!(text, "| {} | {} | {} |", names(list), changes(config), not.join(", "));
    }
    text += "\n| preset | `scheduler` | `scheduler_config` | steps | guidance | from the model card of |\n|---|---|---|---|---|---|\n";
    for p in PRESETS {
        let (config, guidance) = (changes(p.scheduler_config), p.guidance_scale);
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {config} | {} | {guidance} | {} |",
            p.name, p.scheduler, p.num_inference_steps, p.source
        );
    }
    text += "\n| key of `scheduler_config` | value |\n|---|---|\n";
    for (key, of) in SCHEDULER_KEYS {
        let _ = writeln!(text, "| `{key}` | {} |", rule(of));
    }
    text
}

#[test]
fn the_tables_in_the_document_are_those_of_the_code() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/samplers.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let mark = "<!-- generated: GLIMPSE_WRITE_SAMPLERS=1 cargo test --workspace --test sampling -->\n";
    let (before, rest) = text.split_once(mark).expect("the first mark");
    let (_, after) = rest.split_once(mark).expect("the second mark");
    let new = format!("{before}{mark}\n{}\n{mark}{after}", tables());
    if std::env::var_os("GLIMPSE_WRITE_SAMPLERS").is_some() {
        std::fs::write(&file, &new).unwrap();
    }
    assert!(std::fs::read_to_string(&file).unwrap() == new, "docs/samplers.md is old: see its mark");
}
