//! Whole pictures.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use glimpse_shared::request::OutputFormat;
use serde_json::{Value, json};

use super::bench::{self, Bench, BenchArgs};
use super::error::MeasureError;
use super::times::{Times, round};
use crate::pipeline::{Pipeline, PreviewKind, Rgb};
use crate::{encoded::EncodeError, reporter};

/// No further pair of pictures begins after this time.
const WITHIN: Duration = Duration::from_secs(20);

/// Steps between two previews.
const PREVIEW_EVERY: usize = 5;

/// One picture with previews and one without, from the same seed, in turns.
pub(super) fn end_to_end(bench: &Bench) -> Result<Value, MeasureError> {
    bench.pipeline.warm()?;
    let begun = Instant::now();
    let mut times = [Vec::new(), Vec::new()];
    let mut same = true;
    while times[0].is_empty() || times[0].len() < bench.runs(3) && begun.elapsed() < WITHIN {
        let [plain, shown] = [picture(bench, false)?, picture(bench, true)?];
        times[0].push(plain.milliseconds);
        times[1].push(shown.milliseconds);
        same &= plain.pixels == shown.pixels;
    }
    let [without, with] = times.map(Times::from);
    let share = (with.median - without.median) / with.median;
    Ok(bench.report(json!({
        "steps": bench.inputs().num_inference_steps,
        "preview_every_steps": PREVIEW_EVERY,
        "with_previews_ms": with,
        "without_previews_ms": without,
        "previews_share": round(share),
        "same_picture": same,
    })))
}

struct Made {
    milliseconds: f64,
    pixels: Vec<Rgb>,
}

/// Makes a picture. As in a worker, another thread encodes the previews.
fn picture(bench: &Bench, previews: bool) -> Result<Made, MeasureError> {
    let begun = Instant::now();
    let (show, shown) = mpsc::channel::<Rgb>();
    let encoder = thread::spawn(move || -> Result<(), EncodeError> {
        shown.iter().try_for_each(|preview| reporter::encode_preview(&preview).map(drop))
    });
    let mut denoising = bench.pipeline.begin(&bench.inputs())?;
    loop {
        let at = bench.pipeline.progress(&denoising);
        if at.is_done() {
            break;
        }
        bench.pipeline.step(&mut [&mut denoising])?;
        if previews && (at.step + 1).is_multiple_of(PREVIEW_EVERY) && at.step + 1 < at.steps {
            let preview = bench.pipeline.preview(&denoising, PreviewKind::Denoised)?;
            // The encoder ends early only with an error, which is read below.
            let _ = show.send(preview);
        }
    }
    let pixels = bench.pipeline.finish(denoising)?;
    drop(show);
    let encoded = encoder
        .join()
        .map_err(|_| MeasureError::Failed("the thread that encodes previews panicked".into()))?;
    encoded?;
    for picture in &pixels {
        reporter::encode_final(picture, OutputFormat::Jpeg, None)?;
    }
    Ok(Made { milliseconds: begun.elapsed().as_secs_f64() * 1e3, pixels })
}

/// The start of a worker and its first picture. Whoever starts the process measures its time.
pub(super) fn first_picture(args: &BenchArgs) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let mut before = 0.0;
    let mut lap = || {
        let now = begun.elapsed().as_secs_f64() * 1e3;
        round(now - std::mem::replace(&mut before, now))
    };
    let device = args.device.open()?;
    let device_ms = lap();
    let pipeline = args.load(&device)?;
    device.synchronize()?;
    let load_ms = lap();
    pipeline.warm()?;
    let warm_up_ms = lap();
    let mut denoising = pipeline.begin(&bench::inputs(&pipeline))?;
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising])?;
    }
    pipeline.finish(denoising)?;
    Ok(json!({
        "open_device_ms": device_ms,
        "load_random_weights_ms": load_ms,
        "warm_up_ms": warm_up_ms,
        "picture_ms": lap(),
    }))
}
