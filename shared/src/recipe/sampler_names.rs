//! The names of samplers in the text that AUTOMATIC1111's readers know: a sampler, and a type of its schedule.

use serde_json::{Map, Value};

use crate::request::NamedScheduler;

/// The name of a sampler in that text, and the type of its schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SamplerName {
    pub(super) sampler: String,
    pub(super) schedule: &'static str,
}

/// A member of a sampler's configuration, its value, and the type of schedule that it stands for.
const SCHEDULES: [(&str, Option<&str>, &str); 4] = [
    ("use_karras_sigmas", None, "Karras"),
    ("use_exponential_sigmas", None, "Exponential"),
    ("use_beta_sigmas", None, "Beta"),
    ("timestep_spacing", Some("trailing"), "SGM Uniform"),
];
/// Any other schedule.
const AUTOMATIC: &str = "Automatic";
/// The types of schedules that are the sampler's usual one, or the nearest to it that we have.
const USUAL: [&str; 4] = [AUTOMATIC, "Uniform", "Normal", "DDIM"];
/// Names that other programs know better than the first of ours.
const BETTER: [(&str, &str); 1] = [("PNDM", "PLMS")];

/// The name of a scheduler of a recipe's request; `None` if it names none.
pub(super) fn of_request(request: &Map<String, Value>) -> Option<SamplerName> {
    let class = request.get("scheduler")?.as_str()?;
    let none = Map::new();
    let config = request.get("scheduler_config").and_then(Value::as_object).unwrap_or(&none);
    let is_shape = |key: &str| SCHEDULES.iter().any(|(shape, ..)| *shape == key);
    // The entry that says the most of the configuration.
    let fitting =
        NamedScheduler::all().filter(|(_, of, _)| *of == class).filter_map(|(names, _, changes)| {
            let changes: Map<String, Value> = serde_json::from_str(changes).ok()?;
            let fits = changes.iter().all(|(key, value)| !is_shape(key) && config.get(key) == Some(value));
            fits.then_some((changes.len(), *names.first()?))
        });
    let named = fitting.max_by_key(|(says, _)| *says).map(|(_, name)| name);
    let name = named.unwrap_or(class);
    let name = BETTER.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, better)| better);
    let has = |(key, wanted, _): &&(&str, Option<&str>, &str)| match wanted {
        None => config.get(*key) == Some(&Value::Bool(true)),
        Some(word) => config.get(*key).and_then(Value::as_str) == Some(*word),
    };
    let schedule = SCHEDULES.iter().find(has).map_or(AUTOMATIC, |(_, _, schedule)| *schedule);
    Some(SamplerName { sampler: name.to_owned(), schedule })
}

/// Our name for a sampler and a type of schedule of another program. Without a schedule of ours that fits: the name
/// without it, and `false`. `None` if we do not have the sampler.
pub(super) fn of_text(sampler: &str, schedule: Option<&str>) -> Option<(String, bool)> {
    let wanted = schedule.filter(|schedule| !USUAL.contains(schedule));
    let whole = wanted.map(|schedule| format!("{sampler} {schedule}"));
    if let Some(whole) = whole.filter(|whole| NamedScheduler::find(whole).is_some()) {
        return Some((whole, true));
    }
    NamedScheduler::find(sampler).map(|_| (sampler.to_owned(), wanted.is_none()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_of_ours_is_found_again() {
        for (class, config, sampler, schedule) in [
            ("EulerDiscreteScheduler", json!({}), "Euler", "Automatic"),
            ("EulerDiscreteScheduler", json!({ "use_karras_sigmas": true }), "Euler", "Karras"),
            ("EulerAncestralDiscreteScheduler", json!({ "beta_end": 0.012 }), "Euler a", "Automatic"),
            ("DPMSolverMultistepScheduler", json!({ "use_karras_sigmas": true }), "DPM++ 2M", "Karras"),
            (
                "DPMSolverMultistepScheduler",
                json!({ "algorithm_type": "sde-dpmsolver++", "timestep_spacing": "trailing" }),
                "DPM++ 2M SDE",
                "SGM Uniform",
            ),
            ("PNDMScheduler", json!({}), "PLMS", "Automatic"),
            ("UniPCMultistepScheduler", json!({ "use_beta_sigmas": true }), "UniPC", "Beta"),
            ("UnknownScheduler", json!({}), "UnknownScheduler", "Automatic"),
        ] {
            let Value::Object(request) = json!({ "scheduler": class, "scheduler_config": config }) else {
                panic!("an object")
            };
            let name = of_request(&request).unwrap();
            assert_eq!((&name.sampler[..], name.schedule), (sampler, schedule), "{class} {config}");
            if class == "UnknownScheduler" {
                assert_eq!(of_text(sampler, Some(schedule)), None);
                continue;
            }
            let (ours, whole) = of_text(sampler, Some(schedule)).unwrap();
            assert!(whole, "{ours}");
            assert_eq!(NamedScheduler::find(&ours).unwrap().class, class);
        }
        assert_eq!(of_text("Euler a", Some("Karras")), Some(("Euler a".to_owned(), false)));
        assert_eq!(of_text("Restart", None), None);
        assert_eq!(of_text("DPM++ 2M Karras", None), Some(("DPM++ 2M Karras".to_owned(), true)));
    }
}
