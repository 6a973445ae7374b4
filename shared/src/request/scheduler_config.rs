//! `scheduler_config` of a request: keys of diffusers' `scheduler_config.json`, and the arguments of its samplers.

use serde_json::{Map, Value, json};

use super::{
    field_error::{FieldError, Loc},
    fields::{Fields, Least},
};

/// The most entries of a list of noise levels or timesteps.
pub const MAX_LISTED: usize = 150;
/// The highest noise level.
pub const MAX_SIGMA: f64 = 100_000.0;
/// The last timestep of SDXL's training.
pub const MAX_TIMESTEP: u64 = 999;

/// What a key may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyRule {
    /// true or false.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A number above 0, up to this one.
    Above0(f64),
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// Noise levels, each below the one before: numbers from 0 to [`MAX_SIGMA`].
    Sigmas,
    /// Timesteps, each below the one before: whole numbers up to [`MAX_TIMESTEP`].
    Timesteps,
}

/// The keys that a request may have.
pub const SCHEDULER_KEYS: [(&str, KeyRule); 37] = {
    use KeyRule::{Above0, Flag, Integer, Number, Sigmas, Timesteps, Word};
    [
        ("algorithm_type", Word(&["dpmsolver++", "sde-dpmsolver++", "deis"])),
        ("beta_end", Above0(1.0)),
        ("beta_schedule", Word(&["linear", "scaled_linear", "squaredcos_cap_v2"])),
        ("beta_start", Above0(1.0)),
        ("clip_sample", Flag),
        ("clip_sample_range", Above0(MAX_SIGMA)),
        ("eta", Number(0.0, 1.0)),
        ("euler_at_final", Flag),
        ("final_sigmas_type", Word(&["zero", "sigma_min"])),
        ("interpolation_type", Word(&["linear"])),
        ("lower_order_final", Flag),
        ("original_inference_steps", Integer(1, 1000)),
        ("prediction_type", Word(&["epsilon", "v_prediction", "sample"])),
        ("rescale_betas_zero_snr", Flag),
        ("s_churn", Number(0.0, 1000.0)),
        ("s_noise", Number(0.0, 10.0)),
        ("s_tmax", Number(0.0, MAX_SIGMA)),
        ("s_tmin", Number(0.0, MAX_SIGMA)),
        ("set_alpha_to_one", Flag),
        ("sigma_data", Above0(MAX_SIGMA)),
        ("sigma_max", Above0(MAX_SIGMA)),
        ("sigma_min", Above0(MAX_SIGMA)),
        ("sigma_schedule", Word(&["karras", "exponential"])),
        ("sigmas", Sigmas),
        ("skip_prk_steps", Flag),
        ("solver_order", Integer(1, 3)),
        ("solver_type", Word(&["midpoint", "heun", "logrho", "bh1", "bh2"])),
        ("steps_offset", Integer(0, 1000)),
        ("thresholding", Flag),
        ("timestep_scaling", Above0(1000.0)),
        ("timestep_spacing", Word(&["linspace", "leading", "trailing"])),
        ("timestep_type", Word(&["discrete", "continuous"])),
        ("timesteps", Timesteps),
        ("use_beta_sigmas", Flag),
        ("use_exponential_sigmas", Flag),
        ("use_karras_sigmas", Flag),
        ("variance_type", Word(&["fixed_small", "fixed_small_log", "fixed_large"])),
    ]
};

/// The keys that list noise levels or timesteps.
pub(super) const LISTS: [&str; 2] = ["sigmas", "timesteps"];
/// The keys of which a sampler takes at most one.
pub(super) const SHAPES: [&str; 3] = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];

impl Fields {
    /// Reads `scheduler_config`: the valid keys. Unknown keys are errors on every wire, because a misspelt one would
    /// have no effect. `arguments` are those of its keys that the request has itself.
    pub(super) fn scheduler_config(&mut self, arguments: &Map<String, Value>) -> Map<String, Value> {
        let field = "scheduler_config";
        let members = match self.take(field) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                self.wrong(field, "model_attributes_type", msg, &other);
                return Map::new();
            }
        };
        let mut keys = Fields::at(vec![Loc::Name(field.to_owned())], members);
        let mut config = Map::new();
        for (key, rule) in SCHEDULER_KEYS {
            config.extend(keys.by_rule(key, rule).map(|value| (key.to_owned(), value)));
        }
        let on: Vec<_> = SHAPES.into_iter().filter(|key| config.get(*key) == Some(&true.into())).collect();
        if let [first, second, ..] = on[..] {
            keys.wrong(
                second,
                "excluded",
                format!("Input should not be true together with {first}"),
                &true.into(),
            );
        }
        keys.refuse_rest();
        self.errors.append(&mut keys.errors);
        let config = self.with_arguments(config, arguments);
        self.one_list(&config, on.first().copied(), arguments);
        config
    }

    /// A list gives all levels, so nothing else may.
    fn one_list(&mut self, config: &Map<String, Value>, shape: Option<&str>, arguments: &Map<String, Value>) {
        let mut wrong = |key: &str, other: &str, list: &Value| {
            let msg = format!("Input should not be given together with {other}");
            self.errors.push(FieldError::within_body(location(arguments, key), "excluded", msg, list));
        };
        if let (Some(sigmas), Some(_)) = (config.get("sigmas"), config.get("timesteps")) {
            wrong("sigmas", "timesteps", sigmas);
        }
        let list = LISTS.into_iter().find_map(|key| Some((key, config.get(key)?)));
        if let (Some((key, list)), Some(shape)) = (list, shape) {
            wrong(key, shape, list);
        }
    }

    /// Reads a member by the rule of a key.
    pub(super) fn by_rule(&mut self, key: &str, rule: KeyRule) -> Option<Value> {
        match rule {
            KeyRule::Flag => self.optional(key, Self::boolean).map(Value::from),
            KeyRule::Word(words) => {
                let choices: Vec<_> = words.iter().map(|word| (*word, *word)).collect();
                self.one_of(key, &choices).map(Value::from)
            }
            KeyRule::Number(least, most) => self.float(key, Least::From(least), most).map(Value::from),
            KeyRule::Above0(most) => self.float(key, Least::Above(0.0), most).map(Value::from),
            KeyRule::Integer(least, most) => self.integer(key, least, most).map(Value::from),
            KeyRule::Sigmas => self.going_down(key, 2, |entry| {
                entry
                    .as_f64()
                    .filter(|sigma| (0.0..=MAX_SIGMA).contains(sigma))
                    .ok_or_else(|| format!("Each entry should be a number from 0 to {MAX_SIGMA}"))
            }),
            KeyRule::Timesteps => self.going_down(key, 1, |entry| {
                let whole =
                    entry.as_f64().filter(|t| t.fract() == 0.0 && (0.0..=MAX_TIMESTEP as f64).contains(t));
                whole.ok_or_else(|| format!("Each entry should be a whole number from 0 to {MAX_TIMESTEP}"))
            }),
        }
    }

    fn optional<T>(&mut self, key: &str, read: impl Fn(&mut Self, &str) -> Option<T>) -> Option<T> {
        if self.body.get(key).is_none_or(Value::is_null) {
            self.body.remove(key);
            return None;
        }
        read(self, key)
    }

    /// A list of `least` or more numbers, each below the one before.
    fn going_down(
        &mut self,
        key: &str,
        least: usize,
        number: impl Fn(&Value) -> Result<f64, String>,
    ) -> Option<Value> {
        let value = self.take(key)?;
        let Value::Array(entries) = &value else {
            self.wrong(key, "list_type", "Input should be a valid list", &value);
            return None;
        };
        if entries.len() > MAX_LISTED {
            let msg = format!("List should have at most {MAX_LISTED} items");
            self.out_of_bounds(key, "sequence_too_long", msg, &value, json!({ "max_length": MAX_LISTED }));
            return None;
        }
        if entries.len() < least {
            let msg = format!("List should have at least {least} items");
            self.out_of_bounds(key, "sequence_too_short", msg, &value, json!({ "min_length": least }));
            return None;
        }
        let numbers = match entries.iter().map(number).collect::<Result<Vec<_>, _>>() {
            Ok(numbers) => numbers,
            Err(msg) => {
                self.wrong(key, "entry", msg, &value);
                return None;
            }
        };
        if let Some(pair) = numbers.windows(2).find(|pair| pair[1] >= pair[0]) {
            let msg =
                format!("Each entry should be below the one before, {} is not below {}", pair[1], pair[0]);
            self.wrong(key, "not_descending", msg, &value);
            return None;
        }
        let stored = |number: f64| match number.fract() == 0.0 {
            true => Value::from(number as u64),
            false => Value::from(number),
        };
        Some(Value::Array(numbers.into_iter().map(stored).collect()))
    }
}

/// Where a key stands: in the request itself (`arguments`), or in `scheduler_config`.
pub(super) fn location(arguments: &Map<String, Value>, key: &str) -> Vec<Loc> {
    let inside = (!arguments.contains_key(key)).then(|| Loc::Name("scheduler_config".to_owned()));
    inside.into_iter().chain([Loc::Name(key.to_owned())]).collect()
}

/// The number of steps that a list of the configuration gives, and the key of the list.
pub(super) fn listed_steps(config: &Map<String, Value>) -> Option<(&'static str, u32)> {
    let length = |key: &str| Some(config.get(key)?.as_array()?.len());
    match (length("timesteps"), length("sigmas")) {
        (Some(timesteps), _) => Some(("timesteps", timesteps as u32)),
        // The last level is that after the last step.
        (None, Some(sigmas)) => Some(("sigmas", sigmas.saturating_sub(1) as u32)),
        (None, None) => None,
    }
}
