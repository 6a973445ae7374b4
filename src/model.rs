//! The model to use when none is named.

use std::path::PathBuf;

/// Where the demo checkpoint lies, under the working folder or beside the executable.
const DEMO: &str = "models/demo";

/// The named model, else the demo under the working folder, else the demo beside the executable.
///
/// # Errors
/// Names both places if the demo is in neither.
pub fn or_demo(model: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(model) = model {
        return Ok(model);
    }
    let here = PathBuf::from(DEMO);
    let executable = std::env::current_exe().ok();
    let beside = executable.and_then(|path| Some(path.parent()?.join(DEMO)));
    let places = [Some(here), beside];
    if let Some(found) = places.iter().flatten().find(|place| place.join("model_index.json").is_file()) {
        return Ok(found.clone());
    }
    let names: Vec<String> = places.iter().flatten().map(|place| place.display().to_string()).collect();
    Err(format!("there is no model: neither {} is one; name one with --model", names.join(" nor ")))
}
