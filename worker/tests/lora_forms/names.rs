//! The same change in every naming.

use crate::{fixture::pipeline, latents, peft, renamed, support::parity, tensors::load, with};

fn split(name: &str) -> (&str, &str, &str) {
    let (component, rest) = name.split_once('.').expect("a component");
    let (module, part) = rest.split_once(".lora_").expect("a part");
    (component, module, part.trim_end_matches(".weight"))
}

#[test]
fn every_naming_gives_the_same_picture() {
    let pipeline = pipeline();
    let all = peft();
    let expected = latents(&pipeline, &with(&parity().join("variants/peft.safetensors"), 1.0));
    let down_up = |part: &str| if part == "A" { "down" } else { "up" };
    let number = |component: &str| match component {
        "unet" => "unet",
        "text_encoder" => "te1",
        _ => "te2",
    };
    let same = |what: &str, rename: &dyn Fn(&str, &str, &str) -> String| {
        let (_folder, path) = renamed(&all, |name| {
            let (component, module, part) = split(name);
            rename(component, module, part)
        });
        assert!(latents(&pipeline, &with(&path, 1.0)) == expected, "{what}");
    };
    same("kohya", &|component, module, part| {
        format!("lora_{}_{}.lora_{}.weight", number(component), module.replace('.', "_"), down_up(part))
    });
    same("kohya with peft's parts", &|component, module, part| {
        format!("lora_{}_{}.lora_{part}.weight", number(component), module.replace('.', "_"))
    });
    same("LyCORIS", &|component, module, part| {
        let start =
            if component == "unet" { "lycoris".to_owned() } else { format!("lora_{}", number(component)) };
        format!("{start}_{}.lora_{}.weight", module.replace('.', "_"), down_up(part))
    });
    same("an adapter's name", &|component, module, part| {
        format!("{component}.{module}.lora_{part}.default_0.weight")
    });
    same("PeftModel within a component", &|component, module, part| {
        format!("{component}.base_model.model.{module}.lora_{part}.weight")
    });
    same("old diffusers", &|component, module, part| {
        let part = down_up(part);
        match (component, module.rsplit_once(".to_")) {
            ("unet", Some((attention, matrix))) => {
                let matrix = matrix.trim_end_matches(".0");
                format!("unet.{attention}.processor.to_{matrix}_lora.{part}.weight")
            }
            _ => format!("{component}.{module}.lora_linear_layer.{part}.weight"),
        }
    });
    same("OneTrainer", &|component, module, part| {
        format!("lora_{}.{module}.lora_{}.weight", number(component), down_up(part))
    });
    same("OMI", &|component, module, part| {
        let start = match component {
            "unet" => "unet",
            "text_encoder" => "clip_l",
            _ => "clip_g",
        };
        format!("{start}.{module}.lora_{}.weight", down_up(part))
    });
    same("ComfyUI", &|component, module, part| {
        let start = match component {
            "unet" => "diffusion_model",
            "text_encoder" => "text_encoders.clip_l.transformer",
            _ => "text_encoders.clip_g.transformer",
        };
        format!("{start}.{module}.lora_{}.weight", down_up(part))
    });
    same("no component for the UNet, no text_model", &|component, module, part| match component {
        "unet" => format!("{module}.lora_{part}.weight"),
        _ => {
            format!("{component}.{}.lora.{}.weight", module.trim_start_matches("text_model."), down_up(part))
        }
    });
}

#[test]
fn sgm_names_with_dots_give_the_picture_of_those_with_underscores() {
    let pipeline = pipeline();
    let file = parity().join("variants/kohya_sgm.safetensors");
    let expected = latents(&pipeline, &with(&file, 1.0));
    let dotted = |name: &str| {
        let (module, part) = name.split_once('.').expect("a part");
        let Some(module) = module.strip_prefix("lora_unet_") else { return name.to_owned() };
        let mut dots = module.replace('_', ".");
        for word in [
            "input.blocks",
            "output.blocks",
            "middle.block",
            "proj.in",
            "proj.out",
            "to.q",
            "to.k",
            "to.v",
            "to.out",
            "transformer.blocks",
        ] {
            dots = dots.replace(word, &word.replace('.', "_"));
        }
        format!("diffusion_model.{dots}.{part}")
    };
    let (_folder, path) = renamed(&load(&file), dotted);
    assert!(latents(&pipeline, &with(&path, 1.0)) == expected);
}

#[test]
fn a_file_without_a_text_encoders_name_is_for_the_one_that_it_fits() {
    let pipeline = pipeline();
    for (folder, part) in [("peft_text", "text_encoder"), ("peft_text_2", "text_encoder_2")] {
        let file = parity().join("loras").join(folder).join("adapter_model.safetensors");
        let bare = latents(&pipeline, &with(&file, 1.0));
        let (_folder, path) =
            renamed(&load(&file), |name| name.replace("base_model.model.", &format!("{part}.")));
        // alpha / rank of adapter_config.json, which is not beside the other file.
        assert!(bare == latents(&pipeline, &with(&path, 1.5)), "{folder}");
        assert!(bare != latents(&pipeline, &with(&path, 1.0)), "{folder}");
    }
}
