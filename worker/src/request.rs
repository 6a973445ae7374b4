//! Converts a checked request to the pipeline's inputs.

use std::path::{Path, PathBuf};

use glimpse_shared::request::{Branch, ControlNet, Embedding, ImageSpec, InputImage, Lora, LoraPath};

use crate::{
    controlnet_dir::ControlNetDir,
    loras::{Downloaded, LoraDir, Loras},
    pipeline::{
        ControlChoice, EarlierInputs, EdgeThresholds, EmbeddingChoice, Hires, Inputs, LoraChoice,
        PipelineError, Rgb, SchedulerChoice,
    },
};

/// The pipeline's inputs for a request, with the LoRAs and embeddings of `files`, those that were downloaded for it, and
/// the ControlNets of `controlnets`. Decodes pictures, which takes long: do not call it on an async thread.
///
/// # Errors
/// [`PipelineError::BadRequest`] if a picture is damaged, or a LoRA, an embedding or a ControlNet is not found.
pub fn inputs(
    spec: &ImageSpec,
    files: &Loras,
    downloaded: &Downloaded,
    controlnets: Option<&ControlNetDir>,
) -> Result<Inputs, PipelineError> {
    let inputs = of_one(spec, files, downloaded, controlnets)?;
    let from = spec.branch().map(|branch| earlier(branch, &inputs, files, downloaded)).transpose()?;
    Ok(Inputs { from: from.map(Box::new), ..inputs })
}

/// The inputs of a request, without those of the requests before it.
fn of_one(
    spec: &ImageSpec,
    files: &Loras,
    downloaded: &Downloaded,
    controlnets: Option<&ControlNetDir>,
) -> Result<Inputs, PipelineError> {
    let embeddings = spec.embeddings().iter();
    Ok(Inputs {
        negative_prompt: Some(spec.negative_prompt().to_owned()),
        prompt_syntax: spec.prompt_syntax(),
        long_prompt: spec.long_prompt(),
        num_inference_steps: spec.num_inference_steps() as usize,
        guidance_scale: spec.guidance_scale(),
        guidance_rescale: spec.guidance_rescale(),
        clip_skip: spec.clip_skip().map(|layers| layers as usize),
        seed: spec.seed(),
        seeds: spec.seeds().to_vec(),
        num_images_per_prompt: spec.num_images() as usize,
        scheduler: scheduler(spec),
        image: spec.image().map(|image| decode("image", image)).transpose()?,
        mask: spec.mask().map(|mask| decode("mask", mask)).transpose()?,
        strength: spec.strength(),
        denoising_end: spec.denoising_end(),
        refined: spec.denoising_end().is_some(),
        aesthetic_score: spec.aesthetic_score(),
        negative_aesthetic_score: spec.negative_aesthetic_score(),
        padding_mask_crop: spec.padding_mask_crop(),
        hires: spec.hires().map(|hires| Hires {
            scale: hires.scale(),
            strength: hires.strength(),
            steps: hires.steps() as usize,
        }),
        loras: spec.loras().iter().map(|lora| find(lora, files, downloaded)).collect::<Result<_, _>>()?,
        embeddings: embeddings.map(|one| find_embedding(one, files, downloaded)).collect::<Result<_, _>>()?,
        controlnets: spec
            .controlnets()
            .iter()
            .map(|controlnet| control(controlnet, controlnets, downloaded))
            .collect::<Result<_, _>>()?,
        ..Inputs::new(spec.prompt(), spec.width(), spec.height())
    })
}

/// The inputs of the request that a job goes on from: those of its own, with the pictures of the job.
fn earlier(
    branch: &Branch,
    own: &Inputs,
    files: &Loras,
    downloaded: &Downloaded,
) -> Result<EarlierInputs, PipelineError> {
    let inputs = Inputs {
        image: own.image.clone(),
        mask: own.mask.clone(),
        strength: own.strength,
        padding_mask_crop: own.padding_mask_crop,
        controlnets: own.controlnets.clone(),
        ..of_one(branch.request(), files, downloaded, None)?
    };
    let from = branch.request().branch().map(|before| earlier(before, own, files, downloaded)).transpose()?;
    Ok(EarlierInputs { inputs: Inputs { from: from.map(Box::new), ..inputs }, step: branch.step() as usize })
}

fn scheduler(spec: &ImageSpec) -> Option<SchedulerChoice> {
    let (name, changes) = (spec.scheduler().map(str::to_owned), spec.scheduler_config().clone());
    (name.is_some() || !changes.is_empty()).then_some(SchedulerChoice { name, changes })
}

fn decode(field: &'static str, image: &InputImage) -> Result<Rgb, PipelineError> {
    let decoded = image.decode().map_err(|error| PipelineError::bad(field, error.to_string()))?.into_rgb8();
    Ok(Rgb { width: decoded.width(), height: decoded.height(), data: decoded.into_raw() })
}

fn find(lora: &Lora, files: &Loras, downloaded: &Downloaded) -> Result<LoraChoice, PipelineError> {
    let none = "this worker has no LoRAs (--lora-dir)";
    Ok(LoraChoice {
        name: lora.path().to_string(),
        path: file("loras", lora.path(), files.folder.as_ref().ok_or(none), downloaded)?,
        scale: lora.scale(),
        unet_scale: lora.unet_scale(),
        text_scale: lora.text_scale(),
    })
}

fn control(
    controlnet: &ControlNet,
    folder: Option<&ControlNetDir>,
    downloaded: &Downloaded,
) -> Result<ControlChoice, PipelineError> {
    let name = controlnet.path().to_string();
    let bad = |message: String| PipelineError::bad("controlnets", message);
    let path = match controlnet.path() {
        LoraPath::File(file) => {
            let none = || bad("this worker has no ControlNets (--controlnet-dir)".to_owned());
            folder.ok_or_else(none)?.find(file).map_err(|why| bad(format!("{name}: {why}")))?
        }
        path => {
            let kept = folder.and_then(|folder| folder.of_hub(path));
            let found = kept.or_else(|| downloaded.controlnet(path).map(Path::to_owned));
            found.ok_or_else(|| PipelineError::Fault { message: format!("{name} was not downloaded") })?
        }
    };
    Ok(ControlChoice {
        name,
        path,
        image: decode("controlnets", controlnet.image())?,
        edges: controlnet.canny().map(|canny| EdgeThresholds { low: canny.low(), high: canny.high() }),
        mode: controlnet.mode().map(|mode| mode as usize),
        scale: controlnet.scale(),
        start: controlnet.start(),
        end: controlnet.end(),
    })
}

fn find_embedding(
    embedding: &Embedding,
    files: &Loras,
    downloaded: &Downloaded,
) -> Result<EmbeddingChoice, PipelineError> {
    let none = "this worker has no embeddings (--embedding-dir)";
    let folder = files.embeddings.as_ref().ok_or(none);
    Ok(EmbeddingChoice {
        name: embedding.path().to_string(),
        path: file("embeddings", embedding.path(), folder, downloaded)?,
        tokens: embedding.tokens().to_vec(),
    })
}

/// The file of a path, in the folder or among those that were downloaded.
fn file(
    field: &'static str,
    path: &LoraPath,
    folder: Result<&LoraDir, &str>,
    downloaded: &Downloaded,
) -> Result<PathBuf, PipelineError> {
    match path {
        LoraPath::File(name) => {
            let folder = folder.map_err(|why| PipelineError::bad(field, why))?;
            folder.file(name).map_err(|why| PipelineError::bad(field, format!("{name}: {why}")))
        }
        LoraPath::Hub(_) | LoraPath::Url(_) => {
            let missing = || PipelineError::Fault { message: format!("{path} was not downloaded") };
            Ok(downloaded.file(path).ok_or_else(missing)?.to_owned())
        }
    }
}
