//! Converts a checked request to the pipeline's inputs.

use glimpse_shared::request::{ImageSpec, InputImage, Lora, LoraPath, limits::SCORES};

use crate::{
    loras::{Downloaded, LoraDir},
    pipeline::{Hires, Inputs, LoraChoice, PipelineError, Rgb, SchedulerChoice},
};

/// The pipeline's inputs for a request, with the LoRAs of `folder` and those that were downloaded for it. Decodes
/// pictures, which takes long: do not call it on an async thread.
///
/// # Errors
/// [`PipelineError::BadRequest`] if a picture is damaged or a LoRA is not found.
pub fn inputs(
    spec: &ImageSpec,
    folder: Option<&LoraDir>,
    downloaded: &Downloaded,
) -> Result<Inputs, PipelineError> {
    Ok(Inputs {
        negative_prompt: Some(spec.negative_prompt().to_owned()),
        prompt_syntax: spec.prompt_syntax(),
        long_prompt: spec.long_prompt(),
        num_inference_steps: spec.num_inference_steps() as usize,
        guidance_scale: spec.guidance_scale(),
        guidance_rescale: spec.guidance_rescale(),
        clip_skip: spec.clip_skip().map(|layers| layers as usize),
        seed: spec.seed(),
        num_images_per_prompt: spec.num_images() as usize,
        scheduler: scheduler(spec),
        image: spec.image().map(|image| decode("image", image)).transpose()?,
        mask: spec.mask().map(|mask| decode("mask", mask)).transpose()?,
        strength: spec.strength(),
        denoising_end: spec.denoising_end(),
        refined: spec.denoising_end().is_some(),
        aesthetic_score: spec.aesthetic_score().unwrap_or(SCORES[0]),
        negative_aesthetic_score: spec.negative_aesthetic_score().unwrap_or(SCORES[1]),
        padding_mask_crop: spec.padding_mask_crop(),
        hires: spec.hires().map(|hires| Hires {
            scale: hires.scale(),
            strength: hires.strength(),
            steps: hires.steps() as usize,
        }),
        loras: spec.loras().iter().map(|lora| find(lora, folder, downloaded)).collect::<Result<_, _>>()?,
        ..Inputs::new(spec.prompt(), spec.width(), spec.height())
    })
}

fn scheduler(spec: &ImageSpec) -> Option<SchedulerChoice> {
    let (name, changes) = (spec.scheduler().map(str::to_owned), spec.scheduler_config().clone());
    (name.is_some() || !changes.is_empty()).then_some(SchedulerChoice { name, changes })
}

fn decode(field: &'static str, image: &InputImage) -> Result<Rgb, PipelineError> {
    let decoded = image.decode().map_err(|error| PipelineError::bad(field, error.to_string()))?.into_rgb8();
    Ok(Rgb { width: decoded.width(), height: decoded.height(), data: decoded.into_raw() })
}

fn find(lora: &Lora, folder: Option<&LoraDir>, downloaded: &Downloaded) -> Result<LoraChoice, PipelineError> {
    let shown = lora.path().to_string();
    let path = match lora.path() {
        LoraPath::File(name) => {
            let folder =
                folder.ok_or_else(|| PipelineError::bad("loras", "this worker has no LoRAs (--lora-dir)"))?;
            folder.file(name).map_err(|why| PipelineError::bad("loras", format!("{name}: {why}")))?
        }
        path @ (LoraPath::Hub(_) | LoraPath::Url(_)) => {
            let missing = || PipelineError::Fault { message: format!("{shown} was not downloaded") };
            downloaded.file(path).ok_or_else(missing)?.to_owned()
        }
    };
    Ok(LoraChoice {
        name: shown,
        path,
        scale: lora.scale(),
        unet_scale: lora.unet_scale(),
        text_scale: lora.text_scale(),
    })
}
