//! Writes the sampler of a request in full: what a request leaves to the model is the model's own.

use serde_json::{Map, Value};

use super::{
    fields::Fields,
    scheduler_config::{LISTS, SCHEDULER_KEYS, SHAPES},
};

/// The member of a model's configuration that names the class.
const CLASS: &str = "_class_name";

/// Adds to a written request what it leaves to the model, of whose sampler `own` is the configuration: the class, and
/// each setting that a request can have.
pub fn complete_sampler(request: &mut Map<String, Value>, own: &Map<String, Value>) {
    if let Some(class) = own.get(CLASS).filter(|_| !request.contains_key("scheduler")) {
        request.insert("scheduler".to_owned(), class.clone());
    }
    let asked = match request.remove("scheduler_config") {
        Some(Value::Object(asked)) => asked,
        _ => Map::new(),
    };
    // Another placement of the noise levels replaces the model's own.
    let is_placed = SHAPES.iter().any(|key| asked.get(*key) == Some(&Value::Bool(true)))
        || LISTS.iter().any(|key| asked.contains_key(*key));
    let mut fields = Fields::new(own.clone());
    let mut config = Map::new();
    for (key, rule) in SCHEDULER_KEYS {
        if LISTS.contains(&key) || (is_placed && SHAPES.contains(&key)) {
            continue;
        }
        // A value that a request cannot have stays the model's.
        config.extend(fields.by_rule(key, rule).map(|value| (key.to_owned(), value)));
    }
    config.extend(asked);
    if !config.is_empty() {
        request.insert("scheduler_config".to_owned(), Value::Object(config));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_models_own_settings_are_added() {
        let own = json!({
            "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "use_karras_sigmas": true, "sigma_max": null,
            "num_train_timesteps": 1000, "solver_type": "unknown", "steps_offset": 1
        });
        let own = own.as_object().unwrap();
        let complete = |request: Value| {
            let mut request = request.as_object().unwrap().clone();
            complete_sampler(&mut request, own);
            Value::Object(request)
        };
        assert_eq!(
            complete(json!({})),
            json!({
                "scheduler": "EulerDiscreteScheduler",
                "scheduler_config": { "beta_end": 0.012, "use_karras_sigmas": true, "steps_offset": 1 }
            })
        );
        assert_eq!(
            complete(
                json!({ "scheduler": "HeunDiscreteScheduler", "scheduler_config": { "steps_offset": 0, "sigmas": [1, 0] } })
            ),
            json!({
                "scheduler": "HeunDiscreteScheduler",
                "scheduler_config": { "beta_end": 0.012, "steps_offset": 0, "sigmas": [1, 0] }
            })
        );
    }
}
