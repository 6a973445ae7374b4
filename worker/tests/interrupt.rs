//! A job that is stopped in the middle of what takes longer than a step.

#[cfg(test)]
mod support;

use std::cell::Cell;

use glimpse_worker::pipeline::{
    Inputs, Interrupt, LoadOptions, Lora, Pipeline, PipelineError, Rgb, SdxlPipeline,
};
use support::parity;

#[cfg(test)]
fn pipeline() -> SdxlPipeline {
    let options =
        LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) };
    SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"))
}

/// A job with everything that takes long: LoRAs, two prompts, a picture to begin from, several to end with.
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
        .map(|path| Lora::file(path, 0.5))
        .to_vec();
    inputs
}

/// Runs `work` with an interrupt that stops it when it is asked for the `after`th time, 0-based; answers with how
/// often it was asked too.
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
fn a_job_can_be_stopped_between_all_parts_of_its_begin_and_leaves_nothing_behind() {
    let pipeline = pipeline();
    let (inputs, plain) = (inputs(), Inputs { loras: Vec::new(), ..inputs() });
    let (whole, without) = (made(&pipeline, &inputs), made(&pipeline, &plain));
    assert!(whole != without, "the LoRAs change something");
    let (begun, parts) = stopped(usize::MAX, |interrupt| pipeline.prepare(&inputs, None, interrupt));
    begun.unwrap_or_else(|e| panic!("{e}"));
    // Each LoRA, each encoder for each prompt, the picture; and the weights that LoRAs change.
    assert!(parts > 2 + 4 + 1, "{parts}");
    for after in (0..parts).step_by(parts.div_ceil(20)) {
        // So that the LoRAs are to be put in again.
        assert!(made(&pipeline, &plain) == without);
        let (begun, asked) = stopped(after, |interrupt| pipeline.prepare(&inputs, None, interrupt));
        assert!(matches!(begun, Err(PipelineError::Interrupted)), "after {after}");
        assert_eq!(asked, after + 1, "the work goes on after it was stopped");
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
