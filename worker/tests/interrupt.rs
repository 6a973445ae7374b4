//! Jobs that are stopped during work that takes longer than a step.

#[cfg(test)]
#[path = "support/pipeline.rs"]
mod fixture;
#[cfg(test)]
mod support;

use std::cell::Cell;

use fixture::pipeline;
use glimpse_worker::pipeline::{
    Hires, Inputs, Interrupt, LoraChoice, Pipeline, PipelineError, Rgb, SdxlPipeline,
};
use support::parity;

/// A job with all kinds of long work: LoRAs, two prompts, an input picture, several final pictures.
#[cfg(test)]
fn inputs() -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs.num_images_per_prompt = 3;
    inputs.negative_prompt = Some("blurry".to_owned());
    inputs.strength = 1.0;
    inputs.image = Some(Rgb { width: 32, height: 32, data: vec![100; 32 * 32 * 3] });
    inputs.loras = ["peft", "kohya_sgm"]
        .map(|name| parity().join(format!("variants/{name}.safetensors")))
        .map(|path| LoraChoice::file(path, 0.5))
        .to_vec();
    inputs
}

/// Runs `work` with an interrupt that stops it at the check number `after`, 0-based. Returns its result and the number
/// of checks.
#[cfg(test)]
fn stopped<T>(after: usize, work: impl FnOnce(Interrupt<'_>) -> T) -> (T, usize) {
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= after;
    let done = work(Interrupt::when(&stop));
    (done, asked.get())
}

#[cfg(test)]
fn made(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<Rgb> {
    let mut job = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    pipeline.finish(job).expect("finishes")
}

#[test]
fn a_job_can_be_stopped_between_all_parts_of_its_start() {
    let pipeline = pipeline();
    let (inputs, plain) = (inputs(), Inputs { loras: Vec::new(), ..inputs() });
    let (whole, without) = (made(&pipeline, &inputs), made(&pipeline, &plain));
    assert!(whole != without, "the LoRAs change something");
    let (begun, parts) = stopped(usize::MAX, |interrupt| pipeline.prepare(&inputs, None, interrupt));
    begun.unwrap_or_else(|e| panic!("{e}"));
    // Each LoRA, each encoder for each prompt, the picture, and each weight that the LoRAs change.
    assert!(parts > 2 + 4 + 1, "{parts}");
    for after in (0..parts).step_by(parts.div_ceil(20)) {
        // Removes the LoRAs, so that the next job applies them again.
        assert!(made(&pipeline, &plain) == without);
        let (begun, asked) = stopped(after, |interrupt| pipeline.prepare(&inputs, None, interrupt));
        assert!(matches!(begun, Err(PipelineError::Interrupted)), "after {after}");
        assert_eq!(asked, after + 1, "the work continued after the stop");
    }
    assert!(made(&pipeline, &inputs) == whole);
    assert!(made(&pipeline, &plain) == without);
}

#[test]
fn a_job_can_be_stopped_between_its_final_pictures() {
    let pipeline = pipeline();
    let inputs = Inputs { loras: Vec::new(), ..inputs() };
    for after in 0..3 {
        let mut job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
        while !pipeline.progress(&job).is_done() {
            pipeline.step(&mut [&mut job]).expect("steps");
        }
        let (pictures, asked) = stopped(after, |interrupt| pipeline.pictures(job, interrupt));
        assert!(matches!(pictures, Err(PipelineError::Interrupted)), "after {after}");
        assert_eq!(asked, after + 1);
    }
}

/// The second pass of `hires` begins with the decode and the encode of each picture.
#[test]
fn a_job_can_be_stopped_between_the_parts_of_the_change_to_a_larger_size() {
    let pipeline = pipeline();
    let hires = Some(Hires { scale: 1.5, strength: 0.5, steps: 2 });
    let inputs = Inputs { loras: Vec::new(), image: None, strength: 0.3, hires, ..inputs() };
    // Two checks for each of three pictures.
    for after in 0..7 {
        let mut job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
        for _ in 0..2 {
            pipeline.step(&mut [&mut job]).expect("steps");
        }
        let (step, asked) = stopped(after, |interrupt| pipeline.step_or_stop(&mut [&mut job], interrupt));
        assert_eq!(asked, (after + 1).min(6), "after {after}");
        match after {
            6 => step.expect("steps"),
            _ => assert!(matches!(step, Err(PipelineError::Interrupted)), "after {after}"),
        }
    }
}
