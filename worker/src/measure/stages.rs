//! What a job does besides its steps: prompts, decoding, pixels.

use candle_core::Tensor;
use glimpse_shared::request::OutputFormat;
use serde_json::{Value, json};

use super::bench::Bench;
use super::error::MeasureError;
use crate::pipeline::{Pipeline, Rgb};
use crate::reporter;

/// The begin of a job: both text encoders for both prompts, and the noise of the first latents.
pub(super) fn text(bench: &Bench) -> Result<Value, MeasureError> {
    let inputs = bench.inputs();
    let times = bench.time(20, || bench.pipeline.begin(&inputs))?;
    Ok(bench.report(json!({ "begin_ms": times })))
}

/// The autoencoder's decoder.
pub(super) fn vae(bench: &Bench) -> Result<Value, MeasureError> {
    let latents = latents(bench)?;
    let times = bench.time(10, || bench.pipeline.decode(&latents))?;
    Ok(bench.report(json!({ "decode_ms": times })))
}

/// The decoder of previews.
pub(super) fn taesd(bench: &Bench) -> Result<Value, MeasureError> {
    let latents = latents(bench)?;
    let times = bench.time(20, || bench.pipeline.decode_preview(&latents))?;
    Ok(bench.report(json!({ "decode_ms": times })))
}

/// From a decoder's output on the device to bytes on the host, and from these to JPEG.
pub(super) fn pixels(bench: &Bench) -> Result<Value, MeasureError> {
    let decoded = bench.pipeline.decode_preview(&latents(bench)?)?;
    let quantise = bench.time(20, || Rgb::from_tensor(&decoded))?;
    let picture = Rgb::from_tensor(&decoded)?.and_then(|pictures| pictures.into_iter().next());
    let picture = picture.ok_or_else(|| MeasureError::Failed("the preview is not finite".into()))?;
    let preview = bench.time(20, || reporter::encode_preview(&picture))?;
    let last = bench.time(20, || reporter::encode_final(&picture, OutputFormat::Jpeg, None))?;
    Ok(bench.report(json!({ "quantise_ms": quantise, "preview_jpeg_ms": preview, "final_jpeg_ms": last })))
}

/// Latents of one picture: noise, as large as those of a picture.
fn latents(bench: &Bench) -> Result<Tensor, MeasureError> {
    let denoising = bench.pipeline.begin(&bench.inputs())?;
    let noise = denoising.newest_noise().unwrap_or(denoising.latents());
    Ok(noise.clone())
}
