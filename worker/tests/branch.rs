//! Jobs that go on from another request after one of its steps, and jobs that finish early.

#[cfg(test)]
#[path = "support/pipeline.rs"]
mod fixture;
#[cfg(test)]
mod support;

use fixture::pipeline;
use glimpse_worker::pipeline::{
    EarlierInputs, Hires, Inputs, Interrupt, LoraChoice, Pipeline, Rgb, SchedulerChoice, SdxlPipeline,
};
use serde_json::{Value, json};

const STEPS: usize = 6;

#[cfg(test)]
fn inputs(scheduler: &Value) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 40);
    inputs.num_inference_steps = STEPS;
    inputs.seed = 7;
    inputs.negative_prompt = Some(String::new());
    let changes = scheduler.as_object().cloned().expect("an object");
    let name = changes.get("_class_name").and_then(Value::as_str).map(str::to_owned);
    inputs.scheduler = Some(SchedulerChoice { name, changes });
    inputs
}

/// The request that goes on from `old` after a step.
#[cfg(test)]
fn after(old: &Inputs, step: usize, new: Inputs) -> Inputs {
    Inputs { from: Some(Box::new(EarlierInputs { inputs: old.clone(), step })), ..new }
}

/// The latents after each step, and the pictures.
#[cfg(test)]
fn run(pipeline: &SdxlPipeline, inputs: &Inputs) -> (Vec<Vec<f32>>, Vec<Rgb>) {
    let mut job = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(pipeline.progress(&job).step, all.len() + 1);
        all.push(job.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers"));
    }
    assert_eq!(pipeline.progress(&job).steps, all.len());
    (all, pipeline.finish(job).expect("finishes"))
}

#[cfg(test)]
fn error(pipeline: &SdxlPipeline, inputs: &Inputs) -> String {
    let begun = pipeline.begin(inputs).and_then(|mut job| {
        while !pipeline.progress(&job).is_done() {
            pipeline.step(&mut [&mut job])?;
        }
        Ok(())
    });
    begun.expect_err("an error").to_string()
}

/// A deterministic, a multistep and two stochastic samplers, one of two calls a step, and one with a first step of its
/// own.
#[cfg(test)]
fn samplers() -> [Value; 6] {
    [
        json!({ "_class_name": "EulerDiscreteScheduler" }),
        json!({ "_class_name": "DPMSolverMultistepScheduler", "solver_order": 3 }),
        json!({ "_class_name": "EulerAncestralDiscreteScheduler" }),
        json!({ "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++" }),
        json!({ "_class_name": "HeunDiscreteScheduler" }),
        json!({ "_class_name": "PNDMScheduler" }),
    ]
}

#[test]
fn a_branch_without_changes_is_the_same_job_bit_for_bit() {
    let pipeline = pipeline();
    for scheduler in samplers() {
        let old = inputs(&scheduler);
        let whole = run(&pipeline, &old);
        for step in [0, 1, 2, whole.0.len() - 2] {
            let branch = after(&old, step, old.clone());
            assert!(run(&pipeline, &branch) == whole, "{scheduler} after step {step}");
        }
        // A branch of a branch.
        let twice = after(&after(&old, 0, old.clone()), 2, old.clone());
        assert!(run(&pipeline, &twice) == whole, "{scheduler}, twice");
    }
}

/// What a branch asks for instead.
type Change = fn(&mut Inputs);

#[test]
fn the_steps_before_a_branch_are_those_of_the_other_request_and_those_after_it_are_not() {
    let pipeline = pipeline();
    for scheduler in samplers() {
        let old = inputs(&scheduler);
        let (before, _) = run(&pipeline, &old);
        let step = 1;
        let others: [(&str, Change); 4] = [
            ("prompt", |new| new.prompt = "a green house".to_owned()),
            ("negative prompt", |new| new.negative_prompt = Some("fog".to_owned())),
            ("guidance", |new| new.guidance_scale = 9.0),
            ("no guidance", |new| new.guidance_scale = 1.0),
        ];
        for (what, change) in others {
            let mut new = old.clone();
            change(&mut new);
            let (steps, _) = run(&pipeline, &after(&old, step, new));
            assert!(steps[..=step] == before[..=step], "{scheduler} with another {what}");
            assert!(steps[step + 1] != before[step + 1], "{scheduler}: the {what} has an effect");
            assert_eq!(steps.len(), before.len());
        }
    }
}

#[test]
fn another_seed_changes_the_noise_of_stochastic_samplers_alone() {
    let pipeline = pipeline();
    for (class, is_stochastic) in
        [("EulerDiscreteScheduler", false), ("EulerAncestralDiscreteScheduler", true)]
    {
        let old = inputs(&json!({ "_class_name": class }));
        let (before, _) = run(&pipeline, &old);
        let (steps, _) = run(&pipeline, &after(&old, 2, Inputs { seed: 8, ..old.clone() }));
        assert!(steps[..=2] == before[..=2], "{class}");
        assert_eq!(steps[3] != before[3], is_stochastic, "{class}");
    }
}

#[test]
fn another_sampler_or_another_number_of_steps_goes_on_below_the_noise_level() {
    let pipeline = pipeline();
    let all = samplers();
    for (old, new) in all.iter().flat_map(|old| all.iter().map(move |new| (old, new))) {
        let (old, mut new) = (inputs(old), inputs(new));
        new.num_inference_steps = 2 * STEPS;
        // Not in the middle of a step of two calls.
        let step = 3;
        let (before, _) = run(&pipeline, &old);
        let what = format!("{:?} from {:?}", new.scheduler, old.scheduler);
        let (steps, pictures) = run(&pipeline, &after(&old, step, new.clone()));
        // After the step its latents are at the level of the new sampler.
        assert!(steps[..step] == before[..step], "{what}");
        assert!(steps.len() > step + 1, "{what}");
        let own = run(&pipeline, &new).0.len();
        assert!(steps.len() < step + 1 + own, "{what}: only the part below the noise level is taken");
        assert!(steps.last().is_some_and(|last| last.iter().all(|x| x.is_finite())), "{what}");
        assert_eq!(pictures.len(), 1);
    }
}

#[test]
fn a_branch_from_a_picture_keeps_its_picture_and_its_mask() {
    let pipeline = pipeline();
    let picture = |f: fn(u32, u32) -> u8| {
        let data = (0..40).flat_map(|y| (0..32).flat_map(move |x| [f(x, y); 3])).collect();
        Some(Rgb { width: 32, height: 40, data })
    };
    for mask in [None, picture(|x, _| if x < 16 { 255 } else { 0 })] {
        let mut old = inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" }));
        old.image = picture(|x, y| (x * 5 + y * 2) as u8);
        (old.mask, old.strength) = (mask, 0.8);
        let whole = run(&pipeline, &old);
        assert_eq!(whole.0.len(), 4);
        assert!(run(&pipeline, &after(&old, 1, old.clone())) == whole);
        let longer = Inputs { num_inference_steps: 2 * STEPS, ..old.clone() };
        assert!(run(&pipeline, &after(&old, 1, longer)).0.len() > 4);
    }
}

#[test]
fn a_branch_with_several_pictures_or_a_lora_is_the_same_job_too() {
    let pipeline = pipeline();
    let lora = support::parity().join("variants/kohya_sgm.safetensors");
    let old = Inputs {
        num_images_per_prompt: 2,
        loras: vec![LoraChoice::file(lora, 0.8)],
        ..inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" }))
    };
    assert!(run(&pipeline, &after(&old, 2, old.clone())) == run(&pipeline, &old));
    let apart = Inputs { seeds: vec![3, 4], ..old };
    assert!(run(&pipeline, &after(&apart, 2, apart.clone())) == run(&pipeline, &apart));
}

#[test]
fn a_second_pass_follows_a_branch_in_the_first() {
    let pipeline = pipeline();
    let hires = Some(Hires { scale: 1.5, strength: 0.7, steps: 4 });
    let old = Inputs { hires, ..inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" })) };
    assert!(run(&pipeline, &after(&old, 2, old.clone())) == run(&pipeline, &old));
    let shown = error(&pipeline, &after(&old, STEPS, old.clone()));
    assert!(shown.starts_with("from: step 6 is not before the second part of the job"), "{shown}");
}

#[test]
fn a_branch_that_cannot_go_on_says_why() {
    let pipeline = pipeline();
    let old = inputs(&json!({ "_class_name": "HeunDiscreteScheduler" }));
    let euler = inputs(&json!({ "_class_name": "EulerDiscreteScheduler" }));
    let high = inputs(&json!({ "_class_name": "EulerDiscreteScheduler", "sigmas": [10.0, 0.0] }));
    for (branch, why) in [
        (after(&old, 2, euler.clone()), "from: the sampler is in the middle of a step there"),
        (after(&euler, STEPS - 1, euler.clone()), "from: step 5 is not before the last of 6 steps"),
        (after(&euler, 4, Inputs { num_inference_steps: 1, ..high }), "num_inference_steps: leaves no step"),
        (after(&euler, 1, Inputs { width: 48, ..euler.clone() }), "from: the size and the number"),
    ] {
        let shown = error(&pipeline, &branch);
        assert!(shown.starts_with(why), "{shown}");
    }
}

#[test]
fn a_branched_job_resumes_from_every_checkpoint() {
    let pipeline = pipeline();
    let hires = Some(Hires { scale: 1.5, strength: 0.7, steps: 3 });
    let old = Inputs { hires, ..inputs(&json!({ "_class_name": "EulerAncestralDiscreteScheduler" })) };
    let middle = Inputs { prompt: "a house".to_owned(), seed: 9, ..old.clone() };
    let new = Inputs {
        hires,
        num_inference_steps: 9,
        ..inputs(&json!({ "_class_name": "UniPCMultistepScheduler", "solver_order": 3 }))
    };
    let branch = after(&after(&old, 1, middle), 3, new);
    let mut job = pipeline.begin(&branch).unwrap_or_else(|e| panic!("{e}"));
    let mut checkpoints = Vec::new();
    while !pipeline.progress(&job).is_done() {
        checkpoints.push(pipeline.checkpoint(&job).expect("a checkpoint"));
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    let whole = pipeline.finish(job).expect("finishes");
    for (step, checkpoint) in checkpoints.iter().enumerate() {
        let mut job = pipeline.resume(&branch, checkpoint).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(pipeline.progress(&job).step, step);
        assert_eq!(pipeline.progress(&job).steps, checkpoints.len());
        while !pipeline.progress(&job).is_done() {
            pipeline.step(&mut [&mut job]).expect("steps");
        }
        assert!(pipeline.finish(job).expect("finishes") == whole, "resumed after {step} steps");
    }
    // A checkpoint of the branch is none of the other request.
    let last = checkpoints.last().expect("a checkpoint");
    assert_eq!(pipeline.progress(&pipeline.resume(&old, last).expect("begins")).step, 0);
}

#[test]
fn a_job_that_finishes_early_has_the_estimate_of_its_step() {
    let pipeline = pipeline();
    let inputs = inputs(&json!({ "_class_name": "EulerDiscreteScheduler" }));
    let (_, whole) = run(&pipeline, &inputs);
    let mut different = Vec::new();
    for steps in [2, 4, STEPS] {
        let mut job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
        (0..steps).for_each(|_| pipeline.step(&mut [&mut job]).expect("steps"));
        let expected = pipeline.decode(job.denoised().expect("an estimate")).expect("decodes");
        let pictures = pipeline.estimates(job, Interrupt::never()).expect("finishes");
        assert!(Rgb::from_tensor(&expected).expect("pixels").expect("finite") == pictures);
        different.push(pictures);
    }
    assert!(different[0] != different[1] && different[1] != whole);
    // The last step's estimate is the picture.
    assert!(different[2] == whole);
    let job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
    assert!(pipeline.estimates(job, Interrupt::never()).is_err(), "before the first step there is none");
}

#[test]
fn an_early_picture_keeps_what_its_mask_keeps() {
    let pipeline = pipeline();
    let grey = |f: fn(u32) -> u8| {
        let data = (0..40).flat_map(|_| (0..32).flat_map(move |x| [f(x); 3])).collect();
        Some(Rgb { width: 32, height: 40, data })
    };
    let mut inputs = inputs(&json!({ "_class_name": "EulerDiscreteScheduler" }));
    inputs.image = grey(|x| (x * 7) as u8);
    inputs.mask = grey(|_| 0);
    inputs.strength = 0.9;
    // Nothing is repainted, so an early picture is the last one.
    let (_, whole) = run(&pipeline, &inputs);
    let mut job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
    pipeline.step(&mut [&mut job]).expect("steps");
    assert!(pipeline.estimates(job, Interrupt::never()).expect("finishes") == whole);
}
