//! Warns about defaults of diffusers' classes that are wrong for SDXL.
//!
//! A checkpoint's configuration is written for one class. A request may choose another class, which uses its own
//! default for each missing key. Most defaults change a picture only a little, but these ruin it. They are used anyway,
//! as in diffusers, and the log says what to write.

use serde_json::Value;

use crate::sdxl::{LoadError, Settings};

/// Warns about keys that are missing or have a value for which no SDXL model was trained.
pub(super) fn warn(s: &Settings) -> Result<(), LoadError> {
    let file = s.path().display();
    match s.get::<bool>("clip_sample")? {
        Some(false) => {}
        None => tracing::warn!(
            "{file}: \"clip_sample\" is missing, so DDIMScheduler and DDPMScheduler take their default, true, and cut \
             off the latents, which ruins the picture: write \"clip_sample\": false"
        ),
        Some(true) => tracing::warn!(
            "{file}: \"clip_sample\" is true, so DDIMScheduler, DDPMScheduler and LCMScheduler cut off the latents, \
             which ruins the picture: write \"clip_sample\": false"
        ),
    }
    if s.get::<Value>("trained_betas")?.is_some() {
        return Ok(());
    }
    let schedule = s.get::<String>("beta_schedule")?;
    if schedule.as_deref() == Some("squaredcos_cap_v2") {
        return Ok(());
    }
    if schedule.is_none() {
        tracing::warn!(
            "{file}: \"beta_schedule\" is missing, so all samplers but LCMScheduler and TCDScheduler take \"linear\", \
             which is not the noise that SDXL was trained with: write \"beta_schedule\": \"scaled_linear\""
        );
    }
    for (key, default, trained) in [("beta_start", 0.0001, 0.00085), ("beta_end", 0.02, 0.012)] {
        if s.get::<f64>(key)?.is_none() {
            tracing::warn!(
                "{file}: \"{key}\" is missing, so most samplers take {default}, which is not the noise \
                 that SDXL was trained with: write \"{key}\": {trained}"
            );
        }
    }
    Ok(())
}
