//! Damaged files and configurations of ControlNets.

use std::fs;

use glimpse_test_support::fuzz;
use glimpse_worker::pipeline::{
    ControlChoice, Inputs, LoadOptions, Pipeline, PipelineError, Rgb, SdxlPipeline,
};
use proptest::prelude::*;

use crate::{
    support::parity,
    tensors::{Tensors, broken},
};

/// The memory of a job of this size and of a ControlNet, in bytes.
const BASE: usize = 32 << 20;
/// See [`crate::copy`].
const PER_BYTE: usize = 100;
const WEIGHTS: &str = "diffusion_pytorch_model.fp16.safetensors";

#[test]
fn a_broken_controlnet_is_used_or_refused_by_its_name() {
    fuzz::alone(|| {
        let options =
            LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) };
        let pipeline = SdxlPipeline::load(options).expect("loads");
        let names = ["edges", "small", "union"];
        let folder_of = |name: &str| parity().join("controlnets").join(name);
        let whole =
            names.map(|name| Tensors::read(&fs::read(folder_of(name).join(WEIGHTS)).expect("a file")));
        let folder = tempfile::tempdir().expect("a folder");
        let broken_folder = folder.path().join("broken");
        fs::create_dir(&broken_folder).expect("a folder");
        fuzz::check(200, &(0..names.len(), broken(), any::<bool>()), |(which, broken, is_file)| {
            let file = whole[which].with(&broken);
            let name = names[which];
            fs::copy(folder_of(name).join("config.json"), broken_folder.join("config.json")).expect("copied");
            fs::write(broken_folder.join(WEIGHTS), &file).expect("written");
            let path = if is_file { broken_folder.join(WEIGHTS) } else { broken_folder.clone() };
            let image = Rgb { width: 16, height: 16, data: vec![90; 3 * 16 * 16] };
            let mode = (name == "union").then_some(1);
            let choice = ControlChoice { mode, name: "broken".to_owned(), ..ControlChoice::of(path, image) };
            let mut inputs = Inputs::new("a fox", 16, 16);
            inputs.num_inference_steps = 1;
            inputs.controlnets = vec![choice];
            let used = fuzz::within(&(name, &broken), BASE + PER_BYTE * file.len(), || {
                let mut denoising = pipeline.begin(&inputs)?;
                pipeline.step(&mut [&mut denoising])
            });
            match used {
                // Numbers that are not finite may cause a fault of the job.
                Ok(()) | Err(PipelineError::Fault { .. }) => {}
                Err(PipelineError::BadRequest { field, message }) => {
                    prop_assert_eq!(field, "controlnets");
                    prop_assert!(message.starts_with("broken: "), "{message:.300}");
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
            Ok(())
        });
    });
}
