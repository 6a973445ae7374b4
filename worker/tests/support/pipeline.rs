//! The pipeline of the fixtures' model.

use glimpse_worker::pipeline::{LoadOptions, SdxlPipeline};

use super::support::parity;

pub(crate) fn pipeline() -> SdxlPipeline {
    let options =
        LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) };
    SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"))
}
