//! Generates pictures in this process, with the pipeline of a worker.

use std::sync::Arc;

use glimpse_shared::{
    request::{Defaults, ImageSpec, LoraSource, Offer, PreviewSource, Unknown},
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
    recipes::{JobRecipe, MetadataConfig, Recipes},
    reporter, request, runner,
};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::{failure::Failure, from::Wanted, made::Made, view::JobView};
use crate::model;

/// A model in this process.
pub struct Local {
    engine: Engine,
    offers: pipeline::Description,
    loras: Loras,
    controlnets: Option<ControlNetDir>,
    recipes: Arc<Recipes>,
}

impl Local {
    /// Loads the model.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a wrong model or folder.
    pub async fn load(config: ModelConfig, metadata: &MetadataConfig) -> Result<Self, Failure> {
        let loras = config.loras().map_err(Failure::BadInput)?;
        let controlnets = config.controlnets().map_err(Failure::BadInput)?;
        let path = model::or_demo(config.model.clone()).map_err(Failure::BadInput)?;
        let named = path.clone();
        let (engine, offers) = Engine::start(move || config.load(&path))
            .await
            .map_err(|error| Failure::BadInput(error.to_string()))?;
        let recipes = Arc::new(Recipes::new(None, &named, offers.identity.clone(), metadata));
        Ok(Self { engine, offers, loras, controlnets, recipes })
    }
}

/// Validates the request as the API does, and generates its pictures.
///
/// # Errors
/// [`Failure::BadInput`] for a wrong request, or for a model or a LoRA that is not the wanted one; [`Failure::Job`] if the
/// pipeline fails.
pub async fn make(
    local: &Local,
    request: &Map<String, Value>,
    wanted: &Wanted,
    view: &JobView<'_>,
) -> Result<Made, Failure> {
    let Local { engine, offers, loras, controlnets, recipes } = local;
    let spec = check(request, offers, loras)?;
    let recipe = JobRecipe::new(recipes, &spec);
    if wanted.model.is_some() {
        let known = recipes.clone();
        let here = tokio::task::spawn_blocking(move || known.waited_model()).await;
        wanted.check_model(&here.map_err(Failure::unforeseen)?)?;
    }
    let downloaded = match loras.download(&spec, controlnets.as_ref()) {
        Some(download) => download.await.map_err(|error| match error {
            _ if error.is_bad() => Failure::BadInput(error.to_string()),
            _ => Failure::Job(error.to_string()),
        })?,
        None => Downloaded::default(),
    };

    let (_never, stopped) = watch::channel(None);
    let (_asked, finish_early) = watch::channel(spec.finish_at_step());
    let (done, mut end) = oneshot::channel();
    let (steps_done, mut progressed) = mpsc::unbounded_channel();
    let outbox = Arc::new(Outbox::default());
    let asked = spec.clone();
    let (of_step, shown) = (spec.clone(), view.wants_previews());
    let source = match spec.preview_source() {
        PreviewSource::Latents => pipeline::PreviewKind::Latents,
        PreviewSource::Denoised => pipeline::PreviewKind::Denoised,
    };
    // The files stay until the pictures are made.
    let downloaded = Arc::new(downloaded);
    let files = downloaded.clone();
    let (loras, controlnets) = (loras.clone(), controlnets.clone());
    let (of_inputs, of_recipe, recipes) = (recipe.clone(), wanted.clone(), recipes.clone());
    engine.order(Order {
        prepare: Box::new(move || {
            let inputs = request::inputs(&asked, &loras, &files, controlnets.as_ref())?;
            of_inputs.iter().for_each(|recipe| recipe.begin(&inputs.loras));
            for lora in inputs.loras.iter().filter(|lora| of_recipe.has_lora(&lora.name)) {
                let sha256 = recipes.waited_lora(&lora.path).unwrap_or_default();
                let same = of_recipe.check_lora(&lora.name, &sha256);
                same.map_err(|error| PipelineError::bad("loras", error.to_string()))?;
            }
            Ok(inputs)
        }),
        resume: None,
        checkpoints: Checkpoints::never(),
        last_step: Box::new(|| ()),
        observer: Box::new(move |at| {
            // The receiver lives as long as this function.
            let _ = steps_done.send(at);
            (shown && of_step.has_preview_after(runner::index(at))).then_some(source)
        }),
        stop: stopped,
        finish_early,
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
    let of_pictures = spec.clone();
    // No client waits here: the digests are waited for.
    let pictures = tokio::task::spawn_blocking(move || {
        recipe.iter().for_each(JobRecipe::wait);
        let encode = |(index, picture): (usize, &pipeline::Rgb)| {
            let metadata =
                recipe.as_ref().map(|recipe| recipe.metadata(&of_pictures, index, made.finished_at_step));
            let encoded = reporter::encode_final(picture, of_pictures.output_format(), metadata.as_ref());
            encoded.map(|encoded| encoded.bytes.into())
        };
        made.pictures.iter().enumerate().map(encode).collect::<Result<Vec<Vec<u8>>, _>>()
    });
    let encoded = pictures.await.map_err(Failure::unforeseen)?.map_err(Failure::unforeseen)?;
    let warnings = made.warnings.iter().map(reporter::warning).collect();
    Ok(Made {
        encoded,
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
    request: &Map<String, Value>,
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
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Denoised };
    ImageSpec::check(request.clone(), &offer, defaults).map_err(|errors| Failure::fields(&errors))
}
