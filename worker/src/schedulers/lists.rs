//! Timesteps and noise levels that a request names one by one: the arguments `timesteps` and `sigmas` of diffusers'
//! `set_timesteps`. They are read like keys of the configuration.

use crate::sdxl::{LoadError, Settings};

/// The most entries of a list.
pub(super) const MAX_LISTED: usize = 150;

/// Which lists a class takes in diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// None.
    None,
    /// `timesteps`.
    Timesteps,
    /// `timesteps` or `sigmas`.
    Both,
}

/// The number of steps that a list gives.
///
/// # Errors
/// If the class does not take the list, there are both, or it excludes another setting.
pub(super) fn steps(s: &Settings, class: &str, lists: Lists) -> Result<Option<usize>, LoadError> {
    let timesteps = s.get::<Vec<serde_json::Value>>("timesteps")?.map(|list| list.len());
    let sigmas = s.get::<Vec<serde_json::Value>>("sigmas")?.map(|list| list.len());
    let given = [("timesteps", timesteps, Lists::None), ("sigmas", sigmas, Lists::Timesteps)];
    for (key, length, too_few) in given {
        let Some(length) = length else { continue };
        if lists == Lists::None || lists == too_few {
            return Err(s.wrong(key, format!("is a list, which {class} does not take")));
        }
        if length > MAX_LISTED {
            return Err(s.wrong(key, format!("has {length} entries, and at most {MAX_LISTED} are allowed")));
        }
        for shape in ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"] {
            if s.or(shape, false)? {
                return Err(s.wrong(key, format!("excludes {shape}")));
            }
        }
    }
    match (timesteps, sigmas) {
        (Some(_), Some(_)) => Err(s.wrong("sigmas", "excludes timesteps")),
        // One step needs two levels.
        (None, Some(levels)) if levels < 2 => Err(s.wrong("sigmas", "should have at least 2 entries")),
        (None, Some(levels)) => Ok(Some(levels - 1)),
        (Some(0), None) => Err(s.wrong("timesteps", "is empty")),
        (steps, None) => Ok(steps),
    }
}

/// The listed timesteps, latest first, of `train` timesteps of the training.
///
/// # Errors
/// If they do not go down, or the request has another number of steps.
pub(super) fn timesteps(s: &Settings, steps: usize, train: usize) -> Result<Option<Vec<f64>>, LoadError> {
    let Some(list) = s.get::<Vec<u32>>("timesteps")? else { return Ok(None) };
    check_count(s, "timesteps", list.len(), steps)?;
    if list.first().is_some_and(|first| *first as usize >= train) {
        return Err(s.wrong("timesteps", format!("begins at {}, and the last one is {}", list[0], train - 1)));
    }
    if let Some(pair) = list.windows(2).find(|pair| pair[1] >= pair[0]) {
        return Err(
            s.wrong("timesteps", format!("has {} after {}: each is below the one before", pair[1], pair[0]))
        );
    }
    Ok(Some(list.into_iter().map(f64::from).collect()))
}

/// The listed noise levels, highest first, with the level after the last step.
///
/// # Errors
/// If they do not go down, or the request has another number of steps.
pub(super) fn sigmas(s: &Settings, steps: usize) -> Result<Option<Vec<f64>>, LoadError> {
    let Some(list) = s.get::<Vec<f64>>("sigmas")? else { return Ok(None) };
    check_count(s, "sigmas", list.len().saturating_sub(1), steps)?;
    let list: Vec<f64> = list.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
    if list.iter().any(|sigma| !sigma.is_finite() || *sigma < 0.0) {
        return Err(s.wrong("sigmas", "has an entry that is not a finite number of at least 0"));
    }
    if let Some(pair) = list.windows(2).find(|pair| pair[1] >= pair[0]) {
        return Err(
            s.wrong("sigmas", format!("has {} after {}: each is below the one before", pair[1], pair[0]))
        );
    }
    Ok(Some(list))
}

fn check_count(s: &Settings, key: &'static str, steps: usize, wanted: usize) -> Result<(), LoadError> {
    match steps == wanted {
        true => Ok(()),
        false => Err(s.wrong(key, format!("gives {steps} steps, and the request has {wanted}"))),
    }
}
