//! A resumed job gives the picture of an uninterrupted job, bit for bit.

#[cfg(test)]
#[path = "support/pipeline.rs"]
mod fixture;
#[cfg(test)]
#[path = "support/folders.rs"]
mod folders;
#[cfg(test)]
#[path = "support/parts.rs"]
mod parts;
#[cfg(test)]
mod support;

use std::collections::BTreeMap;

use fixture::pipeline;
use glimpse_worker::noise::GeneratorKind;
use glimpse_worker::pipeline::{Hires, Inputs, LoadOptions, Pipeline, Rgb, SchedulerChoice, SdxlPipeline};
use glimpse_worker::schedulers::SCHEDULERS;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

#[cfg(test)]
fn inputs(scheduler: &Value) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 40);
    inputs.num_inference_steps = 7;
    inputs.num_images_per_prompt = 2;
    inputs.negative_prompt = Some(String::new());
    let changes = scheduler.as_object().cloned().expect("an object");
    let name = changes.get("_class_name").and_then(Value::as_str).map(str::to_owned);
    inputs.scheduler = Some(SchedulerChoice { name, changes });
    inputs
}

/// Runs a job. Returns all checkpoints, by the number of steps taken, and the pictures.
#[cfg(test)]
fn run(pipeline: &SdxlPipeline, inputs: &Inputs) -> (BTreeMap<usize, Vec<u8>>, Vec<Rgb>) {
    let mut job = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    let mut checkpoints = BTreeMap::new();
    while !pipeline.progress(&job).is_done() {
        checkpoints.insert(pipeline.progress(&job).step, pipeline.checkpoint(&job).expect("a checkpoint"));
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    (checkpoints, pipeline.finish(job).expect("finishes"))
}

#[cfg(test)]
fn end_of(pipeline: &SdxlPipeline, inputs: &Inputs, checkpoint: &[u8]) -> (usize, Vec<Rgb>) {
    let mut job = pipeline.resume(inputs, checkpoint).unwrap_or_else(|e| panic!("{e}"));
    let begun = pipeline.progress(&job).step;
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    (begun, pipeline.finish(job).expect("finishes"))
}

#[cfg(test)]
fn check(scheduler: Value) {
    let pipeline = pipeline();
    for generator in [GeneratorKind::Cpu, GeneratorKind::Cuda] {
        let inputs = Inputs { generator: Some(generator), ..inputs(&scheduler) };
        let (checkpoints, whole) = run(&pipeline, &inputs);
        for (step, checkpoint) in checkpoints {
            // Other jobs have run on this pipeline in between.
            let (begun, resumed) = end_of(&pipeline, &inputs, &checkpoint);
            assert_eq!(begun, step, "{scheduler}");
            assert!(resumed == whole, "{scheduler} with {generator:?}, resumed after {step} steps");
        }
    }
}

macro_rules! samplers {
    ($($name:ident: $scheduler:tt)*) => {
        $(#[test]
        fn $name() {
            check(json!($scheduler));
        })*
    };
}

samplers! {
    euler: { "_class_name": "EulerDiscreteScheduler" }
    euler_ancestral: { "_class_name": "EulerAncestralDiscreteScheduler" }
    heun: { "_class_name": "HeunDiscreteScheduler" }
    ddim: { "_class_name": "DDIMScheduler" }
    dpm_solver: { "_class_name": "DPMSolverMultistepScheduler", "solver_order": 3 }
    dpm_solver_sde: { "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++" }
    unipc: { "_class_name": "UniPCMultistepScheduler", "solver_order": 3 }
    lcm: { "_class_name": "LCMScheduler" }
    deis: { "_class_name": "DEISMultistepScheduler", "solver_order": 3 }
    ddpm: { "_class_name": "DDPMScheduler" }
    pndm: { "_class_name": "PNDMScheduler" }
    lms: { "_class_name": "LMSDiscreteScheduler" }
    k_dpm_2: { "_class_name": "KDPM2DiscreteScheduler" }
    k_dpm_2_ancestral: { "_class_name": "KDPM2AncestralDiscreteScheduler" }
    dpm_solver_singlestep: { "_class_name": "DPMSolverSinglestepScheduler", "solver_order": 3 }
    dpm_solver_singlestep_sde: { "_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "sde-dpmsolver++" }
    dpm_solver_sde_scheduler: { "_class_name": "DPMSolverSDEScheduler" }
    tcd: { "_class_name": "TCDScheduler", "eta": 0.3 }
    edm_euler: { "_class_name": "EDMEulerScheduler", "s_churn": 2.0 }
    edm_dpm_solver: { "_class_name": "EDMDPMSolverMultistepScheduler", "solver_order": 3 }
    ddim_eta: { "_class_name": "DDIMScheduler", "eta": 0.7 }
    euler_churn: { "_class_name": "EulerDiscreteScheduler", "s_churn": 2.0 }
}

#[test]
fn every_sampler_that_is_offered_is_in_this_file() {
    let here = include_str!("resume.rs");
    for name in SCHEDULERS {
        assert!(here.contains(&format!("{{ \"_class_name\": \"{name}\"")), "{name}");
    }
}

#[test]
fn an_inpainting_job_resumes_from_a_checkpoint() {
    let pipeline = pipeline();
    let picture = |f: fn(u32, u32) -> u8| {
        let data = (0..40).flat_map(|y| (0..32).flat_map(move |x| [f(x, y); 3])).collect();
        Some(Rgb { width: 32, height: 40, data })
    };
    let mut inputs = inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" }));
    inputs.image = picture(|x, y| (x * 5 + y * 2) as u8);
    inputs.mask = picture(|x, _| if x < 16 { 255 } else { 0 });
    inputs.strength = 0.8;
    let (checkpoints, whole) = run(&pipeline, &inputs);
    assert_eq!(checkpoints.len(), 5);
    for (step, checkpoint) in checkpoints {
        assert!(end_of(&pipeline, &inputs, &checkpoint) == (step, whole.clone()), "after {step} steps");
    }
}

#[cfg(test)]
fn check_all(pipeline: &SdxlPipeline, inputs: &Inputs, steps: usize) {
    let (checkpoints, whole) = run(pipeline, inputs);
    assert_eq!(checkpoints.len(), steps);
    for (step, checkpoint) in checkpoints {
        assert!(end_of(pipeline, inputs, &checkpoint) == (step, whole.clone()), "after {step} steps");
    }
}

#[test]
fn a_job_with_a_refiner_resumes_before_at_and_after_the_hand_over() {
    let folder = parts::refiner();
    let refiner = Some(folder.path().to_owned());
    let options = LoadOptions { refiner, ..parts::with_taesd(&support::parity().join("model")) };
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let chosen = [
        ("EulerAncestralDiscreteScheduler", 7),
        ("UniPCMultistepScheduler", 7),
        ("HeunDiscreteScheduler", 14),
    ];
    for (class, steps) in chosen {
        let inputs =
            Inputs { refined: true, denoising_end: Some(0.6), ..inputs(&json!({ "_class_name": class })) };
        check_all(&pipeline, &inputs, steps);
    }
}

#[test]
fn a_job_with_a_second_pass_resumes_in_both() {
    let hires = Some(Hires { scale: 1.5, strength: 0.7, steps: 5 });
    for class in ["EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"] {
        let inputs = Inputs { hires, ..inputs(&json!({ "_class_name": class })) };
        check_all(&pipeline(), &inputs, 10);
    }
}

#[test]
fn a_job_of_an_inpainting_model_resumes() {
    let folder = parts::nine();
    let pipeline = SdxlPipeline::load(parts::with_taesd(folder.path())).unwrap_or_else(|e| panic!("{e}"));
    let picture = |value: fn(usize) -> u8| {
        Some(Rgb { width: 32, height: 40, data: (0..3 * 32 * 40).map(value).collect() })
    };
    let inputs = Inputs {
        image: picture(|i| (i * 7 % 251) as u8),
        mask: picture(|i| if i < 1800 { 255 } else { 0 }),
        padding_mask_crop: Some(4),
        strength: 0.8,
        ..inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" }))
    };
    check_all(&pipeline, &inputs, 5);
}

#[test]
fn a_checkpoint_of_another_job_is_ignored() {
    let pipeline = pipeline();
    let own = inputs(&json!({ "_class_name": "UniPCMultistepScheduler" }));
    let (checkpoints, whole) = run(&pipeline, &own);
    let larger = Inputs { width: 48, ..own.clone() };
    let longer = Inputs { num_inference_steps: 9, ..own.clone() };
    let simpler = inputs(&json!({ "_class_name": "EulerDiscreteScheduler" }));
    for other in [larger, longer, simpler] {
        let (theirs, _) = run(&pipeline, &other);
        assert!(end_of(&pipeline, &own, &theirs[&3]) == (0, whole.clone()), "a checkpoint of {other:?}");
    }
    let cut = &checkpoints[&3][..checkpoints[&3].len() / 2];
    for garbage in [&[][..], b"garbage", cut] {
        assert!(end_of(&pipeline, &own, garbage) == (0, whole.clone()), "garbage");
    }
}

/// A checkpoint whose tensors have other names or shapes.
#[cfg(test)]
fn changed(checkpoint: &[u8], change: impl Fn(&str, &[usize]) -> (String, Vec<usize>)) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(checkpoint).expect("a checkpoint");
    let read = SafeTensors::deserialize(checkpoint).expect("a checkpoint");
    let views = read.iter().map(|(name, view)| {
        let (name, shape) = change(name, view.shape());
        (name, TensorView::new(view.dtype(), shape, view.data()).expect("as many numbers"))
    });
    safetensors::serialize(views, header.metadata().clone()).expect("a file")
}

#[test]
fn a_checkpoint_that_no_sampler_wrote_is_ignored() {
    let pipeline = pipeline();
    let own = inputs(&json!({ "_class_name": "UniPCMultistepScheduler", "solver_order": 3 }));
    let (checkpoints, whole) = run(&pipeline, &own);
    // A higher order than the number of steps, for which there are no earlier levels.
    let higher = changed(&checkpoints[&1], |name, shape| {
        (name.replace("sampler.last.1", "sampler.last.3"), shape.to_vec())
    });
    assert!(higher != checkpoints[&1]);
    assert!(end_of(&pipeline, &own, &higher) == (0, whole.clone()), "of a higher order");
    let turned = changed(&checkpoints[&2], |name, shape| {
        let mut shape = shape.to_vec();
        if name.starts_with("sampler.estimate") {
            shape.reverse();
        }
        (name.to_owned(), shape)
    });
    assert!(end_of(&pipeline, &own, &turned) == (0, whole.clone()), "of another shape");
    // The check of a very high order must not take long.
    let endless = inputs(&json!({ "_class_name": "UniPCMultistepScheduler", "solver_order": 1_u64 << 60 }));
    let without = changed(&checkpoints[&1], |name, shape| {
        (name.replace("sampler.last.1", "sampler.least.1"), shape.to_vec())
    });
    assert_eq!(end_of(&pipeline, &endless, &without).0, 0);
}

/// The pictures of the request with each seed alone.
#[cfg(test)]
fn alone(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<Rgb> {
    let one =
        |seed: &u64| Inputs { seed: *seed, seeds: Vec::new(), num_images_per_prompt: 1, ..inputs.clone() };
    inputs.seeds.iter().flat_map(|seed| run(pipeline, &one(seed)).1).collect()
}

#[test]
fn each_seed_gives_its_own_picture_bit_for_bit() {
    let pipeline = pipeline();
    let gradient = |f: fn(u32, u32) -> u8| {
        let data = (0..40).flat_map(|y| (0..32).flat_map(move |x| [f(x, y); 3])).collect();
        Some(Rgb { width: 32, height: 40, data })
    };
    for (class, generator) in [
        ("EulerDiscreteScheduler", GeneratorKind::Cuda),
        ("EulerAncestralDiscreteScheduler", GeneratorKind::Cpu),
        ("EulerAncestralDiscreteScheduler", GeneratorKind::Cuda),
        ("DPMSolverSDEScheduler", GeneratorKind::Cuda),
        ("UniPCMultistepScheduler", GeneratorKind::Cuda),
        ("DDPMScheduler", GeneratorKind::Cpu),
    ] {
        let mut inputs = inputs(&json!({ "_class_name": class }));
        inputs.num_inference_steps = 4;
        (inputs.generator, inputs.num_images_per_prompt) = (Some(generator), 3);
        inputs.seeds = vec![11, 5, 11];
        let (checkpoints, pictures) = run(&pipeline, &inputs);
        assert!(pictures == alone(&pipeline, &inputs), "{class}");
        assert!(pictures[0] == pictures[2] && pictures[0] != pictures[1]);
        let batch = Inputs { seeds: Vec::new(), seed: 11, ..inputs.clone() };
        assert!(run(&pipeline, &batch).1[1] != pictures[1], "one generator draws other noise");
        for (step, checkpoint) in checkpoints {
            assert!(
                end_of(&pipeline, &inputs, &checkpoint) == (step, pictures.clone()),
                "{class} after {step}"
            );
        }
        inputs.image = gradient(|x, y| (x * 5 + y * 2) as u8);
        inputs.strength = 0.8;
        assert!(run(&pipeline, &inputs).1 == alone(&pipeline, &inputs), "{class} from a picture");
        inputs.mask = gradient(|x, _| if x < 16 { 255 } else { 0 });
        assert!(run(&pipeline, &inputs).1 == alone(&pipeline, &inputs), "{class} with a mask");
        (inputs.image, inputs.mask) = (None, None);
        inputs.guidance_rescale = 0.7;
        assert!(run(&pipeline, &inputs).1 == alone(&pipeline, &inputs), "{class} with rescaled guidance");
        inputs.guidance_scale = 1.0;
        assert!(run(&pipeline, &inputs).1 == alone(&pipeline, &inputs), "{class} without guidance");
    }
}

#[test]
fn there_is_a_seed_for_each_picture_or_none() {
    let mut inputs = inputs(&json!({ "_class_name": "EulerDiscreteScheduler" }));
    inputs.seeds = vec![1];
    let error = pipeline().begin(&inputs).expect_err("two pictures").to_string();
    assert!(error.starts_with("seeds: there are 1 of them for 2 pictures"), "{error}");
}
