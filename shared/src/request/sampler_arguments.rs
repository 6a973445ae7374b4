//! `sigmas`, `timesteps` and `eta` of a request itself: the same as in its `scheduler_config`. On fal's routes the lists
//! may have fal's form, `{"method","array"}`.

use serde_json::{Map, Value};

use super::{
    dialect::Names,
    fal::asks_for_nothing,
    field_error::Loc,
    fields::Fields,
    scheduler_config::{KeyRule, SCHEDULER_KEYS},
};

/// The keys of `scheduler_config` that a request may have itself.
pub const SAMPLER_ARGUMENTS: [&str; 3] = ["eta", "sigmas", "timesteps"];

/// What they say.
#[derive(Default)]
pub(super) struct SamplerArguments {
    /// The valid ones.
    pub(super) given: Map<String, Value>,
    /// One of them is a list in fal's form, which replaces `num_inference_steps`.
    pub(super) replaces_steps: bool,
}

impl Fields {
    /// Reads the fields.
    pub(super) fn sampler_arguments(&mut self, names: Names) -> SamplerArguments {
        let mut arguments = SamplerArguments::default();
        for (key, rule) in SCHEDULER_KEYS.into_iter().filter(|(key, _)| SAMPLER_ARGUMENTS.contains(key)) {
            let value = match self.body.get(key) {
                Some(value) if names.are_fal() && asks_for_nothing(key).contains(value) => {
                    self.body.remove(key);
                    None
                }
                Some(Value::Object(_)) if names.are_fal() && key != "eta" => {
                    let array = self.fals_list(key, rule);
                    arguments.replaces_steps |= array.is_some();
                    array
                }
                _ => self.by_rule(key, rule),
            };
            arguments.given.extend(value.map(|value| (key.to_owned(), value)));
        }
        arguments
    }

    /// fal's form of a list: `None` for its method `default`, which has no array to read.
    fn fals_list(&mut self, key: &str, rule: KeyRule) -> Option<Value> {
        let Value::Object(members) = self.take(key)? else { return None };
        let mut list = Fields::at(vec![Loc::Name(key.to_owned())], members);
        if list.body.get("method").is_none_or(Value::is_null) {
            list.missing("method");
        }
        let is_array = list.one_of("method", &[("default", false), ("array", true)]).unwrap_or(false);
        let value = match is_array {
            true if list.body.get("array").is_none_or(Value::is_null) => {
                list.missing("array");
                None
            }
            true => list.by_rule("array", rule),
            false => None,
        };
        self.errors.append(&mut list.errors);
        value
    }

    /// Adds the arguments to `scheduler_config`. The same key in both must have the same value.
    pub(super) fn with_arguments(
        &mut self,
        mut config: Map<String, Value>,
        arguments: &Map<String, Value>,
    ) -> Map<String, Value> {
        for (key, value) in arguments {
            match config.get(key) {
                Some(other) if other != value => {
                    let msg = format!("Input should be that of scheduler_config.{key}, or be left out");
                    self.wrong(key, "excluded", msg, value);
                }
                _ => {
                    config.insert(key.clone(), value.clone());
                }
            }
        }
        config
    }
}
