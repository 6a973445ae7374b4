//! `scheduler_config.json`: the class of the sampler, and the settings that all samplers share.

use serde_json::{Map, Value};

use super::classes::{CLASSES, Class, Family};
use super::defaults;
use super::lists;
use super::sampler::Sampler;
use crate::sdxl::{LoadError, Settings};

/// The keys that place the noise levels, of which one may be true.
const SHAPES: [&str; 3] = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];
/// The keys that list them.
const LISTS: [&str; 2] = ["timesteps", "sigmas"];

/// A supported class and its settings.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    settings: Settings,
    class: &'static Class,
}

impl SchedulerConfig {
    /// Reads a checkpoint's `scheduler_config.json`.
    ///
    /// # Errors
    /// If it needs something that is not implemented.
    pub fn read(settings: Settings) -> Result<Self, LoadError> {
        let mut none = Map::new();
        for key in LISTS {
            if settings.get::<Value>(key)?.is_some() {
                let file = settings.path().display();
                tracing::warn!("{file}: \"{key}\" is for a request and not for a model: it is ignored");
                none.insert(key.to_owned(), Value::Null);
            }
        }
        let config = Self::of(if none.is_empty() { settings } else { settings.with(&none) })?;
        config.settings.warn_unread();
        if config.class.family == Family::Discrete {
            defaults::warn(&config.settings)?;
        }
        Ok(config)
    }

    /// The configuration with some keys replaced, as diffusers' `from_config(config, **changes)`. `_class_name` changes
    /// the class. Keys that the class does not have are ignored. `sigmas`, `timesteps`, `eta` and `s_churn`, which are
    /// arguments of functions in diffusers, are keys too. A new placement of the noise levels replaces the model's own.
    ///
    /// # Errors
    /// If a change needs something that is not implemented.
    pub fn with(&self, changes: &Map<String, Value>) -> Result<Self, LoadError> {
        let mut changes = changes.clone();
        let places = |key: &&str| changes.get(*key).is_some_and(|value| !value.is_null() && *value != false);
        if SHAPES.iter().chain(&LISTS).any(places) {
            for shape in SHAPES {
                changes.entry(shape).or_insert(Value::Bool(false));
            }
        }
        Self::of(self.settings.with(&changes))
    }

    /// The settings, with the class as `_class_name`.
    pub fn members(&self) -> &Map<String, Value> {
        self.settings.members()
    }

    /// The classes that fit this model's parameterisation, by diffusers' name.
    pub fn offered(&self) -> impl Iterator<Item = &'static str> {
        let family = self.class.family;
        CLASSES.iter().filter(move |class| class.family == family).map(|class| class.name)
    }

    fn of(settings: Settings) -> Result<Self, LoadError> {
        let name: String = settings.required("_class_name")?;
        let class = CLASSES
            .iter()
            .find(|class| class.name == name)
            .ok_or_else(|| settings.unsupported("_class_name", format!("{name:?}")))?;
        if class.family == Family::Discrete {
            // A model of EDM has other input and output scales.
            settings.only("sigma_data", &[])?;
        }
        // Checkpoints often have these settings of other classes.
        settings.ignore(&["skip_prk_steps", "clip_sample", "set_alpha_to_one", "sample_max_value"]);
        let listed = lists::steps(&settings, class.name, class.lists)?;
        // An error of the settings also occurs with one step.
        (class.build)(&settings, listed.unwrap_or(1))?;
        Ok(Self { settings, class })
    }

    /// Number of timesteps of the training.
    ///
    /// # Errors
    /// If the setting is not a number.
    pub fn train_timesteps(&self) -> Result<usize, LoadError> {
        self.settings.or("num_train_timesteps", 1000)
    }

    /// Builds the sampler of a job.
    ///
    /// # Errors
    /// If the class cannot take `steps` steps.
    pub fn sampler(&self, steps: usize) -> Result<Box<dyn Sampler>, LoadError> {
        let train = self.train_timesteps()?;
        if !(1..=train).contains(&steps) {
            return Err(self
                .settings
                .wrong("num_train_timesteps", format!("is {train}, and the request has {steps} steps")));
        }
        (self.class.build)(&self.settings, steps)
    }
}
