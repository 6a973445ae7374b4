//! A small picture of a pipeline.

use glimpse_worker::pipeline::{Inputs, Pipeline, SdxlPipeline};

/// The bytes of a picture with 32 x 32 pixels and two steps.
pub(crate) fn picture(pipeline: &SdxlPipeline) -> Vec<u8> {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    let mut denoising = pipeline.begin(&inputs).expect("begins");
    for _ in 0..2 {
        pipeline.step(&mut [&mut denoising]).expect("steps");
    }
    pipeline.finish(denoising).expect("finishes").remove(0).data
}
