//! Damaged embeddings.

use std::fs;

use glimpse_test_support::fuzz;
use glimpse_worker::pipeline::{EmbeddingChoice, Inputs, LoadOptions, Pipeline, PipelineError, SdxlPipeline};
use proptest::prelude::*;

use crate::{
    support::parity,
    tensors::{Tensors, broken},
};

/// The memory of a job of this size, in bytes.
const BASE: usize = 32 << 20;
/// See [`crate::copy`].
const PER_BYTE: usize = 100;

#[test]
fn a_broken_embedding_is_used_or_refused_by_its_name() {
    fuzz::alone(|| {
        let options =
            LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) };
        let pipeline = SdxlPipeline::load(options).expect("loads");
        let names = ["ink", "kite-style", "mist", "first_only"];
        let read = |name: &str| fs::read(parity().join(format!("embeddings/{name}.safetensors")));
        let whole = names.map(|name| Tensors::read(&read(name).expect("a file")));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("broken.safetensors");
        fuzz::check(400, &(0..names.len(), broken()), |(which, broken)| {
            let file = whole[which].with(&broken);
            fs::write(&path, &file).expect("written");
            let mut inputs = Inputs::new("a fox in broken", 16, 16);
            inputs.num_inference_steps = 1;
            inputs.embeddings = vec![EmbeddingChoice::file(path.clone())];
            let used = fuzz::within(&(names[which], &broken), BASE + PER_BYTE * file.len(), || {
                let mut denoising = pipeline.begin(&inputs)?;
                pipeline.step(&mut [&mut denoising])
            });
            match used {
                // Numbers that are not finite may cause a fault of the job.
                Ok(()) | Err(PipelineError::Fault { .. }) => {}
                Err(PipelineError::BadRequest { field, message }) => {
                    prop_assert_eq!(field, "embeddings");
                    // What is not finite shows only in the encoded prompt, with all embeddings of the job.
                    let named = message.starts_with("broken.safetensors: ")
                        || message.starts_with("with them the encoded");
                    prop_assert!(named, "{message:.300}");
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
            Ok(())
        });
    });
}
