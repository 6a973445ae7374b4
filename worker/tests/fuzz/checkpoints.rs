//! Damaged checkpoints of jobs.

use glimpse_test_support::fuzz;
use glimpse_worker::{
    pipeline::{Inputs, LoadOptions, Pipeline, PipelineError, SchedulerChoice, SdxlPipeline},
    schedulers::SCHEDULERS,
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    support::parity,
    tensors::{Tensors, broken},
};

/// The memory of a job of this size, in bytes.
const BASE: usize = 32 << 20;
/// See [`crate::copy`].
const PER_BYTE: usize = 100;
const STEPS: usize = 3;

fn inputs(class: usize) -> Inputs {
    let mut inputs = Inputs::new("a fox", 16, 16);
    inputs.num_inference_steps = STEPS;
    // The number of steps of the job.
    let changes = json!({ "solver_order": 3 }).as_object().cloned().unwrap_or_default();
    inputs.scheduler = Some(SchedulerChoice { name: Some(SCHEDULERS[class].to_owned()), changes });
    inputs
}

#[test]
fn a_broken_checkpoint_is_used_or_ignored() {
    fuzz::alone(|| {
        let options =
            LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) };
        let pipeline = SdxlPipeline::load(options).expect("loads");
        let mut whole = Vec::new();
        for class in 0..SCHEDULERS.len() {
            let mut job = pipeline.begin(&inputs(class)).expect("begins");
            while !pipeline.progress(&job).is_done() {
                let checkpoint = pipeline.checkpoint(&job).expect("a checkpoint");
                whole.push((class, Tensors::read(&checkpoint)));
                pipeline.step(&mut [&mut job]).expect("steps");
            }
        }
        // Checkpoints of another sampler too.
        let classes = prop::option::weighted(0.2, 0..SCHEDULERS.len());
        fuzz::check(250, &(0..whole.len(), broken(), classes), |(which, broken, other)| {
            let (class, tensors) = &whole[which];
            let class = other.unwrap_or(*class);
            let checkpoint = tensors.with(&broken);
            let case = (which, class, &broken);
            fuzz::within(&case, BASE + PER_BYTE * checkpoint.len(), || -> Result<(), TestCaseError> {
                // A checkpoint that does not fit is ignored: the job starts over.
                let job = pipeline.resume(&inputs(class), &checkpoint);
                let mut job = job.map_err(|error| TestCaseError::fail(error.to_string()))?;
                // A job that started over is like any other.
                while pipeline.progress(&job).step > 0 && !pipeline.progress(&job).is_done() {
                    match pipeline.step(&mut [&mut job]) {
                        Ok(()) => {}
                        // Numbers that are not finite.
                        Err(PipelineError::Fault { message }) if message.contains("finite") => return Ok(()),
                        Err(error) => return Err(TestCaseError::fail(error.to_string())),
                    }
                }
                Ok(())
            })
        });
    });
}
