//! `scheduler_config.json`: the class of the sampler, and the settings that all samplers share.

use serde_json::{Map, Value};

use super::ddim::Ddim;
use super::defaults;
use super::dpm_solver::DpmSolver;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::heun::Heun;
use super::lcm::Lcm;
use super::sampler::Sampler;
use super::unipc::UniPc;
use crate::sdxl::{LoadError, Settings};

/// Builds a sampler for a number of steps.
type Build = fn(&Settings, usize) -> Result<Box<dyn Sampler>, LoadError>;

/// The supported classes, by diffusers' name.
pub const SCHEDULERS: &[&str] = &[
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
    "HeunDiscreteScheduler",
];

fn class(name: &str) -> Option<Build> {
    match name {
        "EulerDiscreteScheduler" => Some(|s, steps| Ok(Box::new(Euler::new(s, steps)?))),
        "EulerAncestralDiscreteScheduler" => Some(|s, steps| Ok(Box::new(EulerAncestral::new(s, steps)?))),
        "DDIMScheduler" => Some(|s, steps| Ok(Box::new(Ddim::new(s, steps)?))),
        "DPMSolverMultistepScheduler" => Some(|s, steps| Ok(Box::new(DpmSolver::new(s, steps)?))),
        "UniPCMultistepScheduler" => Some(|s, steps| Ok(Box::new(UniPc::new(s, steps)?))),
        "LCMScheduler" => Some(|s, steps| Ok(Box::new(Lcm::new(s, steps)?))),
        "HeunDiscreteScheduler" => Some(|s, steps| Ok(Box::new(Heun::new(s, steps)?))),
        _ => None,
    }
}

/// A supported class and its settings.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    settings: Settings,
    build: Build,
}

impl SchedulerConfig {
    /// Reads a checkpoint's `scheduler_config.json`.
    ///
    /// # Errors
    /// If it needs something that is not implemented.
    pub fn read(settings: Settings) -> Result<Self, LoadError> {
        let config = Self::of(settings)?;
        config.settings.warn_unread();
        defaults::warn(&config.settings)?;
        Ok(config)
    }

    /// The configuration with some keys replaced, as diffusers' `from_config(config, **changes)`. `_class_name` changes
    /// the class. Keys that the class does not have are ignored.
    ///
    /// # Errors
    /// If a change needs something that is not implemented.
    pub fn with(&self, changes: &Map<String, Value>) -> Result<Self, LoadError> {
        Self::of(self.settings.with(changes))
    }

    fn of(settings: Settings) -> Result<Self, LoadError> {
        let name: String = settings.required("_class_name")?;
        let build = class(&name).ok_or_else(|| settings.unsupported("_class_name", format!("{name:?}")))?;
        // EDM preconditioning (Playground v2.5) has other input and output scales.
        settings.only("sigma_data", &[])?;
        // Checkpoints often have these settings of other classes.
        settings.ignore(&["skip_prk_steps", "clip_sample", "set_alpha_to_one", "sample_max_value"]);
        // An error of the settings also occurs with one step.
        build(&settings, 1)?;
        Ok(Self { settings, build })
    }

    /// Builds the sampler of a job.
    ///
    /// # Errors
    /// If the class cannot take `steps` steps.
    pub fn sampler(&self, steps: usize) -> Result<Box<dyn Sampler>, LoadError> {
        let train: usize = self.settings.or("num_train_timesteps", 1000)?;
        if !(1..=train).contains(&steps) {
            return Err(self
                .settings
                .wrong("num_train_timesteps", format!("is {train}, and the request has {steps} steps")));
        }
        (self.build)(&self.settings, steps)
    }
}
