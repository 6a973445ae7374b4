//! Jobs with ControlNets: which files are refused, and what does not change a picture.

use std::path::Path;

use glimpse_worker::pipeline::{
    ControlChoice, Hires, Inputs, LoadOptions, Pipeline, PipelineWarning, Rgb, SdxlDenoising, SdxlPipeline,
};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use crate::parts::refiner;
use crate::support::parity;
use crate::{model, renamed};

fn pipeline() -> SdxlPipeline {
    SdxlPipeline::load(model()).unwrap_or_else(|e| panic!("{e}"))
}

fn control(name: &str) -> ControlChoice {
    let data = (0..40u32).flat_map(|y| (0..32u32).flat_map(move |x| [(x * 7 + y * 5) as u8; 3])).collect();
    ControlChoice::of(parity().join("controlnets").join(name), Rgb { width: 32, height: 40, data })
}

fn inputs(controlnets: Vec<ControlChoice>) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 40);
    (inputs.num_inference_steps, inputs.controlnets) = (5, controlnets);
    inputs
}

fn made(pipeline: &SdxlPipeline, mut job: SdxlDenoising) -> Vec<Rgb> {
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    pipeline.finish(job).expect("finishes")
}

fn pictures(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<Rgb> {
    made(pipeline, pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}")))
}

/// The error of a job with this ControlNet.
fn refused(path: &Path) -> String {
    let choice = ControlChoice { path: path.into(), ..control("edges") };
    let error = pipeline().begin(&inputs(vec![choice])).expect_err("refused").to_string();
    let folder = path.parent().expect("a folder").display().to_string();
    assert!(!error.contains(&folder), "a client reads it: {error}");
    error
}

#[test]
fn a_job_with_controlnets_resumes_bit_for_bit() {
    let pipeline = pipeline();
    let late = ControlChoice { start: 0.3, ..control("small") };
    let inputs = inputs(vec![ControlChoice { end: 0.5, ..control("edges") }, late]);
    let whole = pictures(&pipeline, &inputs);
    let mut job = pipeline.begin(&inputs).expect("begins");
    while !pipeline.progress(&job).is_done() {
        let checkpoint = pipeline.checkpoint(&job).expect("a checkpoint");
        let step = pipeline.progress(&job).step;
        let resumed = pipeline.resume(&inputs, &checkpoint).expect("resumes");
        assert_eq!(pipeline.progress(&resumed).step, step);
        assert!(made(&pipeline, resumed) == whole, "resumed after {step} steps");
        pipeline.step(&mut [&mut job]).expect("steps");
    }
}

#[test]
fn jobs_that_step_together_do_not_see_each_others_controlnets() {
    let pipeline = pipeline();
    let all = [inputs(Vec::new()), inputs(vec![control("edges")]), inputs(vec![control("small")])];
    let alone: Vec<_> = all.iter().map(|inputs| pictures(&pipeline, inputs)).collect();
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);
    let mut jobs: Vec<_> = all.iter().map(|inputs| pipeline.begin(inputs).expect("begins")).collect();
    for _ in 0..5 {
        pipeline.step(&mut jobs.iter_mut().collect::<Vec<_>>()).expect("steps");
    }
    for (job, alone) in jobs.into_iter().zip(alone) {
        assert!(pipeline.finish(job).expect("finishes") == alone);
    }
}

#[test]
fn a_controlnet_without_effect_changes_nothing() {
    let pipeline = pipeline();
    let plain = pictures(&pipeline, &inputs(Vec::new()));
    let never = ControlChoice { start: 0.45, end: 0.55, ..control("edges") };
    let nothing = ControlChoice { scale: 0.0, ..control("edges") };
    for choice in [never.clone(), nothing] {
        assert!(pictures(&pipeline, &inputs(vec![choice])) == plain);
    }
    let warnings =
        |choice| pipeline.warnings(&pipeline.begin(&inputs(vec![control("edges"), choice])).expect("begins"));
    let expected =
        PipelineWarning::ControlNetIgnored { name: "edges".to_owned(), window: [0.45, 0.55], steps: 5 };
    assert_eq!(warnings(never), [expected]);
    assert!(warnings(ControlChoice { start: 0.4, end: 0.6, ..control("edges") }).is_empty());
}

#[test]
fn the_mode_says_the_kind_of_picture_of_a_union() {
    let pipeline = pipeline();
    let of = |name: &str, mode| inputs(vec![ControlChoice { mode, ..control(name) }]);
    let all: Vec<_> = (0..3).map(|mode| pictures(&pipeline, &of("union", Some(mode)))).collect();
    assert!(all[0] != all[1] && all[1] != all[2]);
    for (name, mode, part) in [
        ("union", None, "union: is a union ControlNet: mode should say the kind of the picture, 0 to 2"),
        ("union", Some(3), "0 to 2"),
        ("edges", Some(0), "edges: its pictures are of one kind: leave mode out"),
    ] {
        let error = pipeline.begin(&of(name, mode)).expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_configuration_of_a_union_says_that_it_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let union = parity().join("controlnets/union");
    let weights = "diffusion_pytorch_model.fp16.safetensors";
    std::fs::copy(union.join(weights), folder.path().join(weights)).expect("copied");
    let text = std::fs::read_to_string(union.join("config.json")).expect("a configuration");
    let with = |changes: Value| {
        let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        config.extend(changes.as_object().expect("an object").clone());
        std::fs::write(folder.path().join("config.json"), Value::Object(config).to_string())
            .expect("written");
        let choice = ControlChoice { path: folder.path().into(), mode: Some(0), ..control("union") };
        pipeline().begin(&inputs(vec![choice])).map(|_| ()).map_err(|error| error.to_string())
    };
    // xinsir's own class, and a file that has the usual one.
    for class in ["ControlNetModel_Union", "ControlNetModel"] {
        assert_eq!(with(json!({ "_class_name": class })), Ok(()), "{class}");
    }
    for (changes, part) in [
        (json!({ "_class_name": "ControlNetModel", "num_control_type": null }), "does not say so"),
        (json!({ "num_control_type": 4 }), "task_embedding should be"),
        (json!({ "num_trans_layer": 3 }), "missing"),
        (json!({ "num_trans_head": 5 }), "\"num_trans_head\" does not divide 12"),
        (json!({ "num_trans_channel": 320 }), "\"num_trans_channel\" is 320"),
        (json!({ "controlnet_conditioning_channel_order": "bgr" }), "\"bgr\", which is not supported"),
    ] {
        let error = with(changes.clone()).expect_err("refused");
        assert!(error.contains(part), "{changes}: {error}");
    }
    let file = ControlChoice { path: union.join(weights), mode: Some(0), ..control("union") };
    let error = pipeline().begin(&inputs(vec![file])).expect_err("12 channels").to_string();
    assert!(error.contains("with 8 heads"), "{error}");
}

/// The pictures of a second pass are those of image-to-image from the first pass, without ControlNets.
#[test]
fn a_pass_at_a_larger_size_has_no_controlnets() {
    let pipeline = pipeline();
    let first = Inputs { seed: 7, ..inputs(vec![control("edges")]) };
    let both = Inputs { hires: Some(Hires { scale: 1.5, strength: 0.5, steps: 4 }), ..first.clone() };
    let small = pictures(&pipeline, &first).remove(0);
    let second = Inputs {
        controlnets: Vec::new(),
        image: Some(small),
        width: 48,
        height: 64,
        strength: 0.5,
        num_inference_steps: 4,
        ..first.clone()
    };
    let expected = pictures(&pipeline, &second);
    assert!(pictures(&pipeline, &both) == expected);
    let plain = Inputs { controlnets: Vec::new(), ..both };
    assert!(pictures(&pipeline, &plain) != expected, "the ControlNet changes the first pass");
}

/// A ControlNet whose window begins after the base model's steps has no effect, and one before it has.
#[test]
fn a_refiners_steps_have_no_controlnets() {
    let refiner = refiner();
    let options = LoadOptions { refiner: Some(refiner.path().to_owned()), ..model() };
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let job = |controlnets| {
        let inputs = Inputs { denoising_end: Some(0.6), refined: true, ..inputs(controlnets) };
        pictures(&pipeline, &Inputs { num_inference_steps: 10, ..inputs })
    };
    let plain = job(Vec::new());
    assert!(job(vec![ControlChoice { start: 0.65, ..control("edges") }]) == plain);
    assert!(job(vec![ControlChoice { end: 0.3, ..control("edges") }]) != plain);
}

#[test]
fn a_replaced_file_is_read_again_and_only_so_many_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights =
        |name: &str| parity().join("controlnets").join(name).join("diffusion_pytorch_model.fp16.safetensors");
    let file = folder.path().join("net.safetensors");
    std::fs::copy(weights("edges"), &file).expect("copied");
    let mut options = model();
    options.controlnets_kept = 1;
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let choice = ControlChoice { path: file.clone(), ..control("edges") };
    let first = pictures(&pipeline, &inputs(vec![choice.clone()]));
    let both = inputs(vec![control("small"), choice.clone()]);
    assert!(pictures(&pipeline, &both) != first, "more than are kept");
    assert!(pictures(&pipeline, &inputs(vec![choice.clone()])) == first);
    std::fs::rename(&file, folder.path().join("old")).expect("moved");
    std::fs::copy(weights("small"), &file).expect("copied");
    assert!(pictures(&pipeline, &inputs(vec![choice])) != first, "it is another file");
}

#[test]
fn other_files_are_refused_by_their_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("net.safetensors");
    for (name, part) in [
        ("lora_controlnet", "a control-LoRA"),
        ("controlnet_mode_embedder.weight", "another kind of model"),
        ("lllite_unet_input_blocks_4_1.depth_emb.weight", "a ControlNet-LLLite"),
        ("adapter.body.0.resnets.0.block1.weight", "a T2I-Adapter"),
        ("body.0.block1.weight", "a T2I-Adapter"),
        ("image_proj.proj.weight", "an IP-Adapter"),
        ("double_blocks.0.img_attn.qkv.weight", "another kind of model"),
        ("unet.up_blocks.0.attn.lora_A.weight", "a LoRA"),
        ("up_blocks.0.resnets.0.conv1.weight", "a checkpoint or a UNet"),
        ("something.weight", "is not a ControlNet"),
    ] {
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).expect("a tensor");
        safetensors::serialize_to_file([(name, view)], None, &file).expect("written");
        let error = refused(&file);
        assert!(error.starts_with("controlnets: edges: ") && error.contains(part), "{name}: {error}");
    }
    std::fs::write(&file, b"PK\x03\x04 of torch").expect("written");
    assert!(refused(&file).contains("pickle") || refused(&file).contains("safetensors"));
    assert!(refused(&folder.path().join("none")).contains("not found"));
    // One of Stable Diffusion 1.5: other text embeddings.
    let weights = parity().join("controlnets/edges/diffusion_pytorch_model.fp16.safetensors");
    let other = |name: &str| name.replace("attn2.to_k", "attn2.to_k_own").replace("attn1.to_k", "attn2.to_k");
    renamed(&weights, &file, &other);
    let error = refused(&file);
    assert!(error.contains("another model than SDXL"), "{error}");
    // A tensor of another shape.
    renamed(&weights, &file, &|name: &str| match name {
        "controlnet_mid_block.weight" => "controlnet_down_blocks.0.weight".to_owned(),
        "controlnet_down_blocks.0.weight" => "controlnet_mid_block.weight".to_owned(),
        name => name.to_owned(),
    });
    let error = refused(&file);
    assert!(error.contains("controlnet_mid_block.weight should be"), "{error}");
}

#[test]
fn settings_that_change_numbers_are_read_or_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let edges = parity().join("controlnets/edges");
    let weights = "diffusion_pytorch_model.fp16.safetensors";
    std::fs::copy(edges.join(weights), folder.path().join(weights)).expect("copied");
    let text = std::fs::read_to_string(edges.join("config.json")).expect("a configuration");
    for (changes, part) in [
        (json!({ "_class_name": "ControlNetUnionModel", "num_trans_head": 3 }), "missing"),
        (json!({ "num_control_type": 6 }), "\"num_trans_head\" does not divide 12"),
        (json!({ "_class_name": "T2IAdapter" }), "\"_class_name\" is \"T2IAdapter\""),
        (json!({ "global_pool_conditions": true }), "\"global_pool_conditions\" is true"),
        (json!({ "controlnet_conditioning_channel_order": "gbr" }), "channel_order\" is \"gbr\""),
        (json!({ "conditioning_embedding_out_channels": [4, 6, 8] }), "has 3 entries"),
        (json!({ "conditioning_channels": 4 }), "\"conditioning_channels\" is 4"),
        (json!({ "class_embed_type": "timestep" }), "\"class_embed_type\""),
        (json!({ "addition_embed_type": "text" }), "\"addition_embed_type\" is \"text\""),
        (json!({ "encoder_hid_dim": 8 }), "\"encoder_hid_dim\""),
        (json!({ "num_attention_heads": 1000 }), "does not fit block_out_channels"),
        (json!({ "cross_attention_dim": 768 }), "another model than SDXL"),
        (json!({ "block_out_channels": [320, 640, 1280] }), "another model than SDXL"),
        (json!({ "layers_per_block": 1 }), "another model than SDXL"),
        (json!({ "transformer_layers_per_block": [1, 1, 1] }), "unexpected"),
        (json!({ "transformer_layers_per_block": [1, 2, 2] }), "missing"),
        (json!({ "mid_block_type": "UNetMidBlock2DSimpleCrossAttn" }), "\"mid_block_type\""),
    ] {
        let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        config.extend(changes.as_object().expect("an object").clone());
        std::fs::write(folder.path().join("config.json"), Value::Object(config).to_string())
            .expect("written");
        let choice = ControlChoice { path: folder.path().into(), ..control("edges") };
        match pipeline().begin(&inputs(vec![choice])) {
            // Tensors that nothing reads are ignored with a warning, as in diffusers.
            Ok(_) => assert_eq!(part, "unexpected", "{changes}"),
            Err(error) => assert!(error.to_string().contains(part), "{changes}: {error}"),
        }
    }
    std::fs::remove_file(folder.path().join("config.json")).expect("removed");
    let error = refused(folder.path());
    assert!(error.contains("has no config.json"), "{error}");
}
