//! Encodes pictures and publishes them as events. Does not run on the pipeline's thread.

use std::time::Instant;

use glimpse_shared::{
    event::{FailureCode, Image, Timings, Warning, WarningCode},
    job::Release,
    metrics::Stage,
    recipe::Metadata,
    request::{ImageSpec, OutputFormat},
    results::Results,
    store::{Ending, Preview},
    verdict::Verdict,
};
use tokio::sync::{oneshot, watch};

use crate::{
    encoded::{EncodeError, Encoded},
    engine::Made,
    kept,
    lease::{Held, Stop},
    outbox::{Outbox, RawPreview},
    outcome,
    picture_hook::PictureHook,
    pipeline::{PipelineError, PipelineWarning, Rgb},
    recipes::JobRecipe,
};

/// JPEG quality of a preview. Previews are sent often, so they are small.
const PREVIEW_QUALITY: u8 = 70;
/// JPEG quality of a final picture.
const FINAL_QUALITY: u8 = 95;
/// What a client is told whose picture is refused without a reason.
const REFUSED: &str = "The operator of this server does not allow this picture";
/// Why an attempt failed whose pictures could not be checked.
const UNCHECKED: &str =
    "the endpoint of --picture-hook-url gave no answer about the picture; the worker's log says why";
/// A picture of at most this many pixels is encoded on the current thread: another thread would not be faster.
const SMALL: u32 = 64 * 64;

/// What the pipeline did with a job that was not stopped.
#[derive(Debug)]
pub enum End {
    /// It made the pictures.
    Made(Made),
    /// It could not.
    Failed(PipelineError),
    /// It dropped the order: its device is lost, or its thread has died.
    Dropped,
}

impl End {
    /// Whether the pipeline can make no more pictures: the process must end.
    pub fn is_device_fault(&self) -> bool {
        matches!(self, Self::Dropped | Self::Failed(PipelineError::Device { .. }))
    }
}

/// Publishes a job's previews until the pipeline is done with it.
///
/// # Errors
/// The reason to stop, as soon as there is one. The pipeline may be busy with the job until `done` resolves.
pub async fn previews(
    held: &mut Held,
    outbox: &Outbox,
    stop: &mut watch::Receiver<Option<Stop>>,
    done: &mut oneshot::Receiver<Result<Made, PipelineError>>,
) -> Result<End, Stop> {
    loop {
        tokio::select! {
            biased;
            Some(reason) = halted(stop) => return Err(reason),
            preview = outbox.take() => publish(held, outbox, preview).await,
            end = &mut *done => return Ok(match end {
                Ok(Ok(made)) => End::Made(made),
                Ok(Err(error)) => End::Failed(error),
                Err(_) => End::Dropped,
            }),
        }
    }
}

/// What happens to finished pictures before a client is told of them.
pub struct Finishing<'a> {
    /// Who is asked whether they may be shown.
    pub hook: Option<&'a PictureHook>,
    /// Where they are kept; `None`: inside the events.
    pub results: Option<&'a Results>,
    /// Their recipe, if they carry one.
    pub recipe: Option<&'a JobRecipe>,
}

/// Publishes the last previews and the job's end. `begun`: whether the pipeline had begun the job. `stop`: the job may
/// still be stopped while the operator is asked about its pictures.
pub async fn settle(
    mut held: Held,
    outbox: &Outbox,
    end: End,
    begun: bool,
    finishing: Finishing<'_>,
    stop: &mut watch::Receiver<Option<Stop>>,
) {
    while let Some(preview) = outbox.try_take() {
        publish(&mut held, outbox, preview).await;
    }
    match end {
        End::Made(made) => finish(held, made, finishing, stop).await,
        End::Failed(error) => failed(held, error).await,
        End::Dropped if begun => {
            held.release(&Release::Fault("the pipeline's thread died".to_owned())).await;
        }
        // Another job broke the device: this attempt is not counted.
        End::Dropped => drop(held.release(&Release::Drain).await),
    }
}

/// Waits for a reason to stop.
pub(crate) async fn halted(stop: &mut watch::Receiver<Option<Stop>>) -> Option<Stop> {
    stop.wait_for(Option::is_some).await.ok().and_then(|reason| *reason)
}

async fn publish(held: &mut Held, outbox: &Outbox, preview: RawPreview) {
    let partial = outbox.index(&preview);
    let RawPreview { step, steps, picture } = preview;
    let attempt = held.lease().attempt;
    let encoding = Instant::now();
    let encoded = encode(picture, OutputFormat::Jpeg, PREVIEW_QUALITY, None).await;
    held.stages().since(Stage::Encode, encoding);
    match encoded {
        Ok(encoded) => match partial {
            Some(index) => {
                held.publish(&Preview::partial(attempt, index, step, steps, encoded.image())).await
            }
            None => held.publish(&Preview::new(attempt, step, steps, encoded.image())).await,
        },
        Err(error) => tracing::warn!(%error, "a preview could not be encoded"),
    }
    if partial.is_some() {
        outbox.published_partial();
    }
}

async fn finish(
    held: Held,
    made: Made,
    Finishing { hook, results, recipe }: Finishing<'_>,
    stop: &mut watch::Receiver<Option<Stop>>,
) {
    let spec = &held.lease().job.spec;
    let (format, seed, seeds) = (spec.output_format(), spec.seed(), spec.seeds().to_vec());
    let quality = spec.jpeg_quality().unwrap_or(FINAL_QUALITY);
    let results = results.filter(|_| !spec.data_uris());
    let begun = Instant::now();
    let mut pictures = Vec::with_capacity(made.pictures.len());
    for (index, picture) in made.pictures.into_iter().enumerate() {
        let encoding = Instant::now();
        let recipe = recipe.map(|recipe| PictureRecipe {
            of: recipe.clone(),
            spec: spec.clone(),
            index,
            finished_at_step: made.finished_at_step,
        });
        let encoded = encode(picture, format, quality, recipe).await;
        held.stages().since(Stage::Encode, encoding);
        match encoded {
            Ok(encoded) => pictures.push(encoded),
            Err(error) => return failed(held, PipelineError::Fault { message: error.to_string() }).await,
        }
    }
    let timings = Timings {
        inference: made.inference.as_secs_f64(),
        decode: (made.decode + begun.elapsed()).as_secs_f64(),
    };
    let held = match hook {
        Some(hook) => match allowed(held, hook, &pictures, stop).await {
            Some(held) => held,
            None => return,
        },
        None => held,
    };
    let id = held.lease().job.id;
    let asked = held.lease().job.spec.warnings().iter().cloned();
    let warnings: Vec<_> = asked.chain(made.warnings.iter().map(warning)).collect();
    let warned = warnings.len();
    let finished_at_step = made.finished_at_step;
    let ending = |images| {
        let seeds = (seed, seeds.clone());
        Ending::completed_at(finished_at_step, images, seeds, timings, warnings.clone())
    };
    let (stages, publishing) = (held.stages().clone(), Instant::now());
    let finish = match results {
        Some(results) => kept::finish(held, results, &pictures, ending).await,
        None => held.finish(&ending(pictures.iter().map(Encoded::image).collect())).await,
    };
    stages.since(Stage::Publish, publishing);
    if let Some(finish) = finish {
        let Timings { inference, decode } = timings;
        tracing::info!(job_id = %id, ?finish, inference, decode, warned, finished_at_step, "job ended");
    }
}

/// Asks the operator about the pictures of a job. Settles the job and returns `None` if they are not shown. The lease is
/// renewed in the meantime.
async fn allowed(
    held: Held,
    hook: &PictureHook,
    pictures: &[Encoded],
    stop: &mut watch::Receiver<Option<Stop>>,
) -> Option<Held> {
    let id = held.lease().job.id;
    let verdict = tokio::select! {
        biased;
        Some(reason) = halted(stop) => {
            stopped(held, reason).await;
            return None;
        }
        verdict = hook.ask(&held.lease().job, pictures) => verdict,
    };
    match verdict {
        Ok(Verdict { allowed: true, .. }) => return Some(held),
        Ok(Verdict { reason, .. }) => {
            tracing::info!(job = %id, "job failed: the operator does not allow its picture");
            let message = reason.unwrap_or_else(|| REFUSED.to_owned());
            held.finish(&Ending::failed(FailureCode::ContentPolicyViolation, message)).await;
        }
        Err(error) => {
            tracing::warn!(job = %id, %error, "the job is tried again");
            // Clients read this reason: it has no address.
            held.release(&Release::Fault(UNCHECKED.to_owned())).await;
        }
    }
    None
}

/// The warning for the client.
pub fn warning(warning: &PipelineWarning) -> Warning {
    let code = match warning {
        PipelineWarning::PromptTruncated { .. } => WarningCode::PromptTruncated,
        PipelineWarning::LoraEmbeddingsIgnored { .. } => WarningCode::LoraEmbeddingsIgnored,
        PipelineWarning::ScoresIgnored { .. } => WarningCode::ScoresIgnored,
        PipelineWarning::ControlNetIgnored { .. } => WarningCode::ControlnetIgnored,
        PipelineWarning::EmbeddingIgnored { .. } => WarningCode::EmbeddingIgnored,
    };
    Warning { code, message: warning.to_string() }
}

/// Settles a job that was stopped.
pub async fn stopped(held: Held, stop: Stop) {
    tracing::info!(job_id = %held.lease().job.id, ?stop, "job stopped");
    match stop {
        Stop::Cancelled => {
            outcome::cancelled();
            held.abandon();
        }
        Stop::Lost => {
            outcome::lost();
            held.abandon();
        }
        Stop::Drain => drop(held.release(&Release::Drain).await),
    }
}

async fn failed(held: Held, error: PipelineError) {
    tracing::warn!(job_id = %held.lease().job.id, %error, "job failed");
    match error {
        PipelineError::BadRequest { .. } => {
            held.finish(&Ending::failed(FailureCode::BadRequest, error.to_string())).await;
        }
        PipelineError::Fault { .. } | PipelineError::OutOfMemory { .. } | PipelineError::Interrupted => {
            held.release(&Release::Fault(error.to_string())).await;
        }
        PipelineError::Device { message } => {
            held.release(&Release::Fault(message)).await;
        }
    }
}

/// The recipe of one picture of a job. What its file carries is made where the picture is encoded, because an input picture
/// is read for its digest.
struct PictureRecipe {
    of: JobRecipe,
    spec: ImageSpec,
    index: usize,
    finished_at_step: Option<u32>,
}

/// Encodes a picture, a large one on a blocking thread.
async fn encode(
    picture: Rgb,
    format: OutputFormat,
    quality: u8,
    recipe: Option<PictureRecipe>,
) -> Result<Encoded, EncodeError> {
    let is_small = picture.width.saturating_mul(picture.height) <= SMALL;
    let encode = move || {
        let metadata =
            recipe.map(|recipe| recipe.of.metadata(&recipe.spec, recipe.index, recipe.finished_at_step));
        Encoded::new(&picture, format, quality, metadata.as_ref())
    };
    if is_small {
        return encode();
    }
    tokio::task::spawn_blocking(encode).await.map_err(EncodeError::new)?
}

/// Encodes a final picture, for a job's result or for `glimpse generate`.
///
/// # Errors
/// If a side is too long for the format.
pub fn encode_final(
    picture: &Rgb,
    format: OutputFormat,
    metadata: Option<&Metadata>,
) -> Result<Encoded, EncodeError> {
    Encoded::new(picture, format, FINAL_QUALITY, metadata)
}

/// Encodes a preview.
///
/// # Errors
/// See [`encode_final`].
pub fn encode_preview(picture: &Rgb) -> Result<Image, EncodeError> {
    Encoded::new(picture, OutputFormat::Jpeg, PREVIEW_QUALITY, None).map(|encoded| encoded.image())
}
