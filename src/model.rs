//! The default model.

use std::path::PathBuf;

/// The folder of the demo checkpoint, in the working folder or beside the executable.
const DEMO: &str = "models/demo";

/// The given model, else the demo in the working folder, else the demo beside the executable.
///
/// # Errors
/// Names both folders if neither has the demo.
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
    Err(format!(
        "no model found: there is no demo model at {}; give a model with --model",
        names.join(" or ")
    ))
}
