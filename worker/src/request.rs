//! Converts a checked request to the pipeline's inputs.

use std::path::{Path, PathBuf};

use glimpse_shared::request::{ImageSpec, InputImage, LoraName};

use crate::pipeline::{Inputs, LoraChoice, PipelineError, Rgb, SchedulerChoice};

/// The folder of the LoRA files that requests may name.
#[derive(Debug, Clone)]
pub struct LoraDir(PathBuf);

impl LoraDir {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it does not exist or is not a folder.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        let real = folder.canonicalize()?;
        if !real.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(real))
    }

    /// The file of a name; `.safetensors` is added if it is missing. `None` if the file does not exist or is outside of
    /// the folder.
    fn file(&self, name: &LoraName) -> Option<PathBuf> {
        const ENDING: &str = ".safetensors";
        let name = name.as_str();
        let name = if name.ends_with(ENDING) { name.to_owned() } else { format!("{name}{ENDING}") };
        let real = self.0.join(name).canonicalize().ok()?;
        (real.starts_with(&self.0) && real.is_file()).then_some(real)
    }
}

/// The pipeline's inputs for a request. Decodes pictures, which takes long: do not call it on an async thread.
///
/// # Errors
/// [`PipelineError::BadRequest`] if a picture is damaged or a LoRA is not found.
pub fn inputs(spec: &ImageSpec, loras: Option<&LoraDir>) -> Result<Inputs, PipelineError> {
    Ok(Inputs {
        negative_prompt: Some(spec.negative_prompt().to_owned()),
        num_inference_steps: spec.num_inference_steps() as usize,
        guidance_scale: spec.guidance_scale(),
        guidance_rescale: spec.guidance_rescale(),
        clip_skip: spec.clip_skip().map(|layers| layers as usize),
        seed: spec.seed(),
        num_images_per_prompt: spec.num_images() as usize,
        scheduler: spec
            .scheduler()
            .map(|name| SchedulerChoice { name: Some(name.to_owned()), changes: Default::default() }),
        image: spec.image().map(|image| decode("image", image)).transpose()?,
        mask: spec.mask().map(|mask| decode("mask", mask)).transpose()?,
        strength: spec.strength(),
        loras: spec.loras().iter().map(|lora| find(lora, loras)).collect::<Result<_, _>>()?,
        ..Inputs::new(spec.prompt(), spec.width(), spec.height())
    })
}

fn decode(field: &'static str, image: &InputImage) -> Result<Rgb, PipelineError> {
    let decoded = image.decode().map_err(|error| PipelineError::bad(field, error.to_string()))?.into_rgb8();
    Ok(Rgb { width: decoded.width(), height: decoded.height(), data: decoded.into_raw() })
}

fn find(lora: &glimpse_shared::request::Lora, folder: Option<&LoraDir>) -> Result<LoraChoice, PipelineError> {
    let folder =
        folder.ok_or_else(|| PipelineError::bad("loras", "this worker has no LoRAs (--lora-dir)"))?;
    let path = folder
        .file(lora.name())
        .ok_or_else(|| PipelineError::bad("loras", format!("{}: not found", lora.name().as_str())))?;
    Ok(LoraChoice { name: lora.name().as_str().to_owned(), path, scale: lora.scale() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_outside_of_the_folder_is_not_followed() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret.safetensors"), "x").unwrap();
        std::fs::write(inside.path().join("own.safetensors"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        std::os::unix::fs::symlink("own.safetensors", inside.path().join("alias.safetensors")).unwrap();
        let folder = LoraDir::open(inside.path()).unwrap();
        let found = |name: &str| folder.file(&LoraName::try_from(name.to_owned()).unwrap()).is_some();
        assert!(found("own") && found("own.safetensors") && found("alias"));
        assert!(!found("out/secret") && !found("other"));
        assert!(LoraDir::open(&inside.path().join("own.safetensors")).is_err());
    }
}
