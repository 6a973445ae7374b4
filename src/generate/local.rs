//! Generates pictures in this process, with the pipeline of a worker.

use std::sync::Arc;

use glimpse_shared::{
    request::{Defaults, ImageRequest, ImageSpec, LoraSource, Offer, PreviewSource, Unknown},
    telemetry::Stages,
};
use glimpse_worker::{
    checkpoints::Checkpoints,
    config::ModelConfig,
    controlnet_dir::ControlNetDir,
    engine::{Engine, Order},
    loras::{Downloaded, Loras},
    outbox::{Outbox, RawPreview},
    pipeline::{self, PipelineError},
    reporter, request, runner,
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{failure::Failure, made::Made, view::JobView};
use crate::model;

/// A model in this process.
pub struct Local {
    engine: Engine,
    offers: pipeline::Description,
    loras: Loras,
    controlnets: Option<ControlNetDir>,
}

impl Local {
    /// Loads the model.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a wrong model or folder.
    pub async fn load(config: ModelConfig) -> Result<Self, Failure> {
        let loras = config.loras().map_err(Failure::BadInput)?;
        let controlnets = config.controlnets().map_err(Failure::BadInput)?;
        let path = model::or_demo(config.model.clone()).map_err(Failure::BadInput)?;
        let (engine, offers) = Engine::start(move || config.load(&path))
            .await
            .map_err(|error| Failure::BadInput(error.to_string()))?;
        Ok(Self { engine, offers, loras, controlnets })
    }
}

/// Validates the request as the API does, and generates its pictures.
///
/// # Errors
/// [`Failure::BadInput`] for a wrong request, [`Failure::Job`] if the pipeline fails.
pub async fn make(local: &Local, request: &ImageRequest, view: &JobView<'_>) -> Result<Made, Failure> {
    let Local { engine, offers, loras, controlnets } = local;
    let spec = check(request, offers, loras)?;
    let downloaded = match loras.download(&spec, controlnets.as_ref()) {
        Some(download) => download.await.map_err(|error| match error {
            _ if error.is_bad() => Failure::BadInput(error.to_string()),
            _ => Failure::Job(error.to_string()),
        })?,
        None => Downloaded::default(),
    };

    let (_never, stopped) = watch::channel(None);
    let (done, mut end) = oneshot::channel();
    let (steps_done, mut progressed) = mpsc::unbounded_channel();
    let outbox = Arc::new(Outbox::default());
    let asked = spec.clone();
    let (of_step, wanted) = (spec.clone(), view.wants_previews());
    let source = match spec.preview_source() {
        PreviewSource::Latents => pipeline::PreviewKind::Latents,
        PreviewSource::Denoised => pipeline::PreviewKind::Denoised,
    };
    // The files stay until the pictures are made.
    let downloaded = Arc::new(downloaded);
    let files = downloaded.clone();
    let (loras, controlnets) = (loras.clone(), controlnets.clone());
    engine.order(Order {
        prepare: Box::new(move || request::inputs(&asked, &loras, &files, controlnets.as_ref())),
        resume: None,
        checkpoints: Checkpoints::never(),
        last_step: Box::new(|| ()),
        observer: Box::new(move |at| {
            // The receiver lives as long as this function.
            let _ = steps_done.send(at);
            (wanted && of_step.has_preview_after(runner::index(at))).then_some(source)
        }),
        stop: stopped,
        outbox: outbox.clone(),
        stages: Stages::default(),
        done,
    });
    let made = loop {
        tokio::select! {
            biased;
            Some(at) = progressed.recv() => view.at(at.step as u32, at.steps as u32),
            shown = outbox.take() => preview(view, &shown)?,
            made = &mut end => break made,
        }
    };
    while let Some(shown) = outbox.try_take() {
        preview(view, &shown)?;
    }
    let made = made.map_err(Failure::unforeseen)?.map_err(|error| match error {
        PipelineError::BadRequest { .. } => Failure::BadInput(error.to_string()),
        PipelineError::Fault { .. }
        | PipelineError::OutOfMemory { .. }
        | PipelineError::Device { .. }
        | PipelineError::Interrupted => Failure::Job(error.to_string()),
    })?;
    let encoded = made.pictures.iter().map(|picture| {
        let image = reporter::encode_final(picture, spec.output_format()).map_err(Failure::unforeseen)?;
        image.decode().ok_or_else(|| Failure::unforeseen("the picture is not a data URI"))
    });
    let warnings = made.warnings.iter().map(reporter::warning).collect();
    Ok(Made {
        encoded: encoded.collect::<Result<_, _>>()?,
        content_type: spec.output_format().content_type().to_owned(),
        seed: spec.seed(),
        seeds: spec.seeds().to_vec(),
        warnings,
    })
}

fn preview(view: &JobView<'_>, shown: &RawPreview) -> Result<(), Failure> {
    let image = reporter::encode_preview(&shown.picture).map_err(Failure::unforeseen)?;
    let jpeg = image.decode().ok_or_else(|| Failure::unforeseen("the preview is not a data URI"))?;
    view.preview(shown.step, &jpeg)
}

fn check(
    request: &ImageRequest,
    offers: &pipeline::Description,
    loras: &Loras,
) -> Result<ImageSpec, Failure> {
    let offer = Offer {
        native_width: offers.native_width,
        native_height: offers.native_height,
        max_pixels: offers.max_pixels,
        schedulers: offers.schedulers.iter().cloned().collect(),
        lora_sources: loras.sources(),
        controlnet_hub: loras.sources().contains(&LoraSource::Hub),
    };
    let Value::Object(body) = serde_json::to_value(request).map_err(Failure::unforeseen)? else {
        return Err(Failure::unforeseen("the request is not a JSON object"));
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Denoised };
    ImageSpec::check(body, &offer, defaults).map_err(|errors| Failure::fields(&errors))
}
