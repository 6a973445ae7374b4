//! Presets: the sampler, steps and guidance for models that were distilled to few steps, as their makers publish them.

use super::scheduler_names::object;

/// What a preset sets where the request says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// The word in a request.
    pub name: &'static str,
    /// The sampler's class.
    pub scheduler: &'static str,
    /// Changes to its configuration, as JSON.
    pub scheduler_config: &'static str,
    /// Denoising steps.
    pub num_inference_steps: u32,
    /// The guidance; up to 1 there is none.
    pub guidance_scale: f64,
    /// Whose model card has these values.
    pub source: &'static str,
}

const TRAILING: &str = r#"{"timestep_spacing":"trailing"}"#;

/// The presets.
pub const PRESETS: [Preset; 5] = [
    Preset {
        name: "lightning",
        scheduler: "EulerDiscreteScheduler",
        scheduler_config: TRAILING,
        num_inference_steps: 4,
        guidance_scale: 0.0,
        source: "ByteDance/SDXL-Lightning",
    },
    Preset {
        name: "turbo",
        scheduler: "EulerAncestralDiscreteScheduler",
        scheduler_config: TRAILING,
        num_inference_steps: 1,
        guidance_scale: 0.0,
        source: "stabilityai/sdxl-turbo",
    },
    Preset {
        name: "hyper",
        scheduler: "DDIMScheduler",
        scheduler_config: TRAILING,
        num_inference_steps: 4,
        guidance_scale: 0.0,
        source: "ByteDance/Hyper-SD",
    },
    Preset {
        name: "lcm",
        scheduler: "LCMScheduler",
        scheduler_config: "{}",
        num_inference_steps: 4,
        guidance_scale: 0.0,
        source: "latent-consistency/lcm-lora-sdxl",
    },
    Preset {
        name: "dmd2",
        scheduler: "LCMScheduler",
        scheduler_config: r#"{"timesteps":[999,749,499,249]}"#,
        num_inference_steps: 4,
        guidance_scale: 0.0,
        source: "tianweiy/DMD2",
    },
];

impl Preset {
    /// Its configuration; without its list of timesteps if the request has another number of steps or another sampler.
    pub(super) fn config(&self, keeps_timesteps: bool) -> serde_json::Map<String, serde_json::Value> {
        let mut config = object(self.scheduler_config);
        if !keeps_timesteps {
            config.remove("timesteps");
        }
        config
    }
}
