//! The fields that choose a sampler: `preset`, `scheduler`, `scheduler_config`, and the steps and guidance that go with
//! them.

use serde_json::{Map, Value, json};

use super::{
    bounds::{MAX_GUIDANCE, MAX_STEPS, default},
    dialect::Names,
    field_error::FieldError,
    fields::{Fields, Least},
    offer::Offer,
    presets::{PRESETS, Preset},
    sampler_arguments::SamplerArguments,
    scheduler_config::{listed_steps, location},
    scheduler_names::NamedScheduler,
};

/// What these fields say, with all defaults.
pub(super) struct Sampling {
    /// The sampler's class; `None` for the checkpoint's own.
    pub(super) scheduler: Option<String>,
    /// Changes to its configuration.
    pub(super) config: Map<String, Value>,
    /// Denoising steps.
    pub(super) steps: u32,
    /// The strength of the guidance by the prompt.
    pub(super) guidance: f64,
}

impl Fields {
    /// Reads the fields of the sampler. Explicit fields win over a preset, and `scheduler_config` over the name of a
    /// sampler.
    pub(super) fn sampling(&mut self, offer: &Offer, names: Names) -> Sampling {
        let preset = self.preset(offer);
        let steps = self.integer("num_inference_steps", 1, MAX_STEPS).map(|steps| steps as u32);
        let guidance = self.float("guidance_scale", Least::From(0.0), MAX_GUIDANCE);
        let named = self.scheduler(offer);
        let SamplerArguments { given, replaces_steps } = self.sampler_arguments(names);
        let own = self.scheduler_config(&given);
        let steps = steps.filter(|_| !replaces_steps);
        let mut config = Map::new();
        if let Some(preset) = &preset {
            let same_steps = steps.is_none_or(|steps| steps == preset.num_inference_steps);
            let same_class = named.as_ref().is_none_or(|(class, _)| class == preset.scheduler);
            let listed = own.contains_key("sigmas") || own.contains_key("timesteps");
            config.extend(preset.config(same_steps && same_class && !listed));
        }
        let (named, of_name) = named.unzip();
        config.extend(of_name.unwrap_or_default());
        config.extend(own);
        let listed = listed_steps(&config);
        if let (Some((key, listed)), Some(steps)) = (listed, steps)
            && listed != steps
        {
            let msg =
                format!("It gives {listed} steps, but num_inference_steps is {steps}: leave one of them out");
            let at = location(&given, key);
            self.errors.push(FieldError::within_body(at, "steps_differ", msg, &config[key]));
        }
        let of_preset = |value: fn(&Preset) -> u32, other| preset.as_ref().map_or(other, value);
        Sampling {
            steps: steps
                .or(listed.map(|(_, steps)| steps))
                .unwrap_or(of_preset(|preset| preset.num_inference_steps, default::NUM_INFERENCE_STEPS)),
            guidance: guidance
                .unwrap_or(preset.map_or(default::GUIDANCE_SCALE, |preset| preset.guidance_scale)),
            scheduler: named.or(preset.map(|preset| preset.scheduler.to_owned())),
            config,
        }
    }

    fn preset(&mut self, offer: &Offer) -> Option<Preset> {
        let field = "preset";
        let value = self.body.get(field).cloned();
        let preset = self.one_of(field, &PRESETS.map(|preset| (preset.name, preset)))?;
        let names_another = self.body.get("scheduler").is_some_and(|scheduler| !scheduler.is_null());
        if !names_another && !offer.schedulers.contains(preset.scheduler) {
            let msg = format!("No worker of this app offers its scheduler, {}", preset.scheduler);
            self.wrong(field, "not_offered", msg, &value.unwrap_or_default());
            return None;
        }
        Some(preset)
    }

    /// A sampler as a worker of the app offers it: its class, with or without `Scheduler`, or another name of it.
    fn scheduler(&mut self, offer: &Offer) -> Option<(String, Map<String, Value>)> {
        let field = "scheduler";
        let value = self.take(field)?;
        let Value::String(name) = &value else {
            self.wrong(field, "string_type", "Input should be a valid string", &value);
            return None;
        };
        let offered = |known: &&String| {
            known.as_str() == name || known.strip_suffix("Scheduler").is_some_and(|short| short == name)
        };
        if let Some(known) = offer.schedulers.iter().find(offered) {
            return Some((known.clone(), Map::new()));
        }
        let named = NamedScheduler::find(name).filter(|named| offer.schedulers.contains(named.class));
        if named.is_none() {
            let names: Vec<_> = offer.schedulers.iter().collect();
            let listed: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            let msg = format!(
                "No worker of this app offers this scheduler. Available schedulers: {}",
                listed.join(", ")
            );
            self.out_of_bounds(field, "one_of", &msg, &value, json!({ "expected": names }));
        }
        named.map(|NamedScheduler { class, config }| (class.to_owned(), config))
    }
}
