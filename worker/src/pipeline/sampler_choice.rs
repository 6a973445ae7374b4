//! The sampler of a job: the model's own, with the changes of the request.

use super::error::PipelineError;
use super::inputs::Inputs;
use super::sdxl::SdxlPipeline;
use crate::schedulers::{SCHEDULERS, Sampler, SchedulerConfig};
use crate::sdxl::LoadError;

impl SdxlPipeline {
    pub(super) fn train_timesteps(scheduler: &SchedulerConfig) -> Result<usize, PipelineError> {
        scheduler.train_timesteps().map_err(|e| PipelineError::bad("scheduler", without_folder(&e)))
    }

    /// The sampler of `steps` steps, with the changes of the request.
    pub(super) fn sampler_of(
        &self,
        scheduler: &SchedulerConfig,
        inputs: &Inputs,
        steps: usize,
    ) -> Result<Box<dyn Sampler>, PipelineError> {
        let chosen = Self::scheduler_of(scheduler, inputs)?;
        chosen.sampler(steps).map_err(|e| PipelineError::bad("num_inference_steps", without_folder(&e)))
    }

    fn scheduler_of(scheduler: &SchedulerConfig, inputs: &Inputs) -> Result<SchedulerConfig, PipelineError> {
        let Some(choice) = &inputs.scheduler else { return Ok(scheduler.clone()) };
        let mut changes = choice.changes.clone();
        let wrong = |error: LoadError| match &error {
            LoadError::Setting { key, message, .. } if choice.changes.contains_key(key) => {
                PipelineError::bad("scheduler_config", format!("{key} {message}"))
            }
            _ => PipelineError::bad("scheduler", without_folder(&error)),
        };
        if let Some(name) = &choice.name {
            if !SCHEDULERS.contains(&name.as_str()) {
                let message = format!("{name:?} is not one of {}", SCHEDULERS.join(", "));
                return Err(PipelineError::bad("scheduler", message));
            }
            changes.insert("_class_name".into(), name.clone().into());
        }
        scheduler.with(&changes).map_err(wrong)
    }
}

/// An error about a setting without the server's folder, because clients read it.
fn without_folder(error: &LoadError) -> String {
    match error {
        LoadError::Setting { path, key, message } => {
            let file = path.file_name().unwrap_or_default().display();
            format!("{file}: \"{key}\" {message}")
        }
        other => other.to_string(),
    }
}
