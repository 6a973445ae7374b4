//! Reads the `config.json` of one component.

use crate::sdxl::{ConfigFiles, LoadError, Settings};

/// A component's configuration, and its settings for later error messages.
pub(super) fn component<C>(
    files: &ConfigFiles,
    read: impl FnOnce(&Settings) -> Result<C, LoadError>,
) -> Result<(C, Settings), LoadError> {
    let settings = files.settings("config.json", "a component of the model")?;
    Ok((read(&settings)?, settings))
}
