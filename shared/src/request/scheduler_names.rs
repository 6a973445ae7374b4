//! The names of samplers: diffusers' classes, and what other programs call them.

use serde_json::{Map, Value, json};

/// A sampler as a job stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedScheduler {
    /// diffusers' class.
    pub class: &'static str,
    /// Changes to its configuration.
    pub config: Map<String, Value>,
}

/// One sampler and its names. Case, spaces, `_` and `-` do not count, and `+` is `p`.
struct Entry {
    class: &'static str,
    /// Changes to its configuration, as JSON.
    config: &'static str,
    names: &'static [&'static str],
}

const fn entry(class: &'static str, config: &'static str, names: &'static [&'static str]) -> Entry {
    Entry { class, config, names }
}

const SDE: &str = r#"{"algorithm_type":"sde-dpmsolver++"}"#;

/// Every sampler. The class is a name too, also without `Scheduler` at its end.
const ENTRIES: &[Entry] = &[
    entry("EulerDiscreteScheduler", "{}", &["Euler", "k_euler"]),
    entry(
        "EulerAncestralDiscreteScheduler",
        "{}",
        &["Euler a", "Euler ancestral", "k_euler_a", "k_euler_ancestral"],
    ),
    entry("HeunDiscreteScheduler", "{}", &["Heun", "k_heun"]),
    entry("LMSDiscreteScheduler", "{}", &["LMS", "k_lms"]),
    entry("KDPM2DiscreteScheduler", "{}", &["DPM2", "KDPM2"]),
    entry(
        "KDPM2AncestralDiscreteScheduler",
        "{}",
        &["DPM2 a", "DPM2 ancestral", "KDPM2 a", "KDPM2 ancestral"],
    ),
    entry("DPMSolverMultistepScheduler", "{}", &["DPM++ 2M", "k_dpmpp_2m"]),
    entry("DPMSolverMultistepScheduler", r#"{"use_karras_sigmas":true}"#, &["KarrasDPM"]),
    entry("DPMSolverMultistepScheduler", SDE, &["DPM++ 2M SDE", "dpmpp_2m_sde_gpu", "k_dpmpp_2m_sde"]),
    entry("DPMSolverMultistepScheduler", r#"{"solver_order":3}"#, &["DPM++ 3M"]),
    entry("DPMSolverSinglestepScheduler", "{}", &["DPM++ 2S"]),
    entry("DPMSolverSDEScheduler", "{}", &["DPM++ SDE", "dpmpp_sde_gpu", "k_dpmpp_sde"]),
    entry("DDIMScheduler", "{}", &["DDIM"]),
    entry("DDPMScheduler", "{}", &["DDPM"]),
    entry("PNDMScheduler", "{}", &["PNDM", "PLMS"]),
    entry("UniPCMultistepScheduler", "{}", &["UniPC"]),
    entry("UniPCMultistepScheduler", r#"{"solver_type":"bh2"}"#, &["uni_pc_bh2"]),
    entry("DEISMultistepScheduler", "{}", &["DEIS"]),
    entry("LCMScheduler", "{}", &["LCM"]),
    entry("TCDScheduler", "{}", &["TCD"]),
    entry("EDMEulerScheduler", "{}", &["EDM Euler"]),
    entry("EDMDPMSolverMultistepScheduler", "{}", &["EDM DPM++ 2M"]),
];

/// What may follow a name, as diffusers' documentation translates it.
const ENDINGS: &[(&[&str], &str)] = &[
    (&["Karras", "k"], r#"{"use_karras_sigmas":true}"#),
    (&["exponential"], r#"{"timestep_spacing":"linspace","use_exponential_sigmas":true}"#),
    (&["beta"], r#"{"timestep_spacing":"linspace","use_beta_sigmas":true}"#),
    (&["sgm_uniform", "simple", "trailing", "(trailing timesteps)"], r#"{"timestep_spacing":"trailing"}"#),
];

/// The classes that read neither `use_karras_sigmas` nor its like.
const UNSHAPED: [&str; 8] = [
    "EulerAncestralDiscreteScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
];

/// The classes that do not read `timestep_spacing`.
const UNSPACED: [&str; 5] = [
    "DPMSolverSinglestepScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
];

impl NamedScheduler {
    /// The sampler of a name, if there is one. A name with an ending that the class ignores is none.
    pub fn find(name: &str) -> Option<Self> {
        let name = plain(name);
        let mut found = None;
        for Entry { class, config, names } in ENTRIES {
            // The class of the first entry has no changes.
            let own = [*class].into_iter().filter(|_| *config == "{}");
            for known in names.iter().copied().chain(own) {
                let Some(ending) = name.strip_prefix(&plain(known)) else { continue };
                if let Some(change) = ending_of(ending, class) {
                    let mut config = object(config);
                    config.extend(object(change));
                    found = Some(Self { class, config });
                }
            }
        }
        found
    }

    /// All names for a table: the names of each sampler, its class, and the changes to its configuration.
    pub fn all() -> impl Iterator<Item = (&'static [&'static str], &'static str, &'static str)> {
        ENTRIES.iter().map(|Entry { class, config, names }| (*names, *class, *config))
    }

    /// All endings for a table: their spellings, the changes, and the classes that do not take them.
    pub fn endings() -> impl Iterator<Item = (&'static [&'static str], &'static str, &'static [&'static str])>
    {
        ENDINGS.iter().map(|(names, change)| (*names, *change, refusing(change)))
    }
}

/// The classes for which a change of an ending has no effect.
fn refusing(change: &str) -> &'static [&'static str] {
    if change.contains("_sigmas") { &UNSHAPED } else { &UNSPACED }
}

/// The change of an ending; `{}` for none.
fn ending_of(ending: &str, class: &str) -> Option<&'static str> {
    if ending.is_empty() {
        return Some("{}");
    }
    let known = |(names, _): &&(&[&str], &str)| names.iter().any(|name| plain(name) == ending);
    let (_, change) = ENDINGS.iter().find(known)?;
    (!refusing(change).contains(&class)).then_some(*change)
}

/// A name without what does not count.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric() || *c == '+');
    let letters: String = letters.map(|c| if c == '+' { 'p' } else { c.to_ascii_lowercase() }).collect();
    letters.strip_suffix("scheduler").map_or(letters.clone(), str::to_owned)
}

/// The members of a JSON object in a table.
pub(super) fn object(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text).unwrap_or(json!({})) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_text_of_the_tables_is_an_object() {
        for text in ENTRIES.iter().map(|entry| entry.config).chain(ENDINGS.iter().map(|(_, change)| *change))
        {
            assert!(serde_json::from_str::<Map<String, Value>>(text).is_ok(), "{text}");
        }
    }

    /// No two names with any endings are the same text for different samplers.
    #[test]
    fn every_name_has_one_meaning() {
        let mut meanings: BTreeMap<String, (&str, Map<String, Value>)> = BTreeMap::new();
        for entry in ENTRIES {
            let class = [entry.class].into_iter().filter(|_| entry.config == "{}");
            for name in entry.names.iter().copied().chain(class) {
                let endings =
                    ENDINGS.iter().flat_map(|(names, change)| names.iter().map(move |n| (*n, *change)));
                for (ending, change) in endings.chain([("", "{}")]) {
                    let mut config = object(entry.config);
                    config.extend(object(change));
                    let text = plain(&format!("{} {ending}", name.trim_end_matches("Scheduler")));
                    let earlier = meanings.insert(text.clone(), (entry.class, config.clone()));
                    assert!(earlier.is_none_or(|earlier| earlier == (entry.class, config)), "{text}");
                }
            }
        }
        assert!(meanings.len() > 150, "{}", meanings.len());
    }
}
