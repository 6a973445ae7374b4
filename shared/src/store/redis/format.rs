//! The number of the stored format.
//!
//! A release reads everything that the release before it and the one after it store: a missing field has a meaning, an
//! unknown one is kept. Releases further apart do not. So a process raises the stored number to its own when it starts,
//! and refuses to start where a release has been that it does not understand.

use super::{
    backend::Backend,
    check_error::CheckError,
    scripts::{FORMAT, number},
    shape::read_as,
};
use crate::error::StoreResult;

/// The format of this release. A release that stores something new in a way that the release before last would
/// misunderstand has the next number. Release 0.1.0 stored none.
const OWN: u32 = 1;

impl Backend {
    /// Agrees on the format with the processes before this one. Returns a warning.
    pub(super) async fn agree_on_format(&self) -> Result<Option<String>, CheckError> {
        let before = self.raise_format().await;
        let before = before.map_err(|error| CheckError::Temporary(error.to_string()))?;
        match before {
            Some(before) if before > OWN + 1 => Err(CheckError::Permanent(format!(
                "{} says that a newer release with the stored format {before} was here, and this release reads formats \
                 up to {}: use a newer release, or another --redis-prefix",
                self.keys.format(),
                OWN + 1
            ))),
            Some(before) if before + 1 < OWN => Ok(Some(format!(
                "the last release here had the stored format {before}, and this one reads formats from {} on: jobs that \
                 were not over before may fail",
                OWN - 1
            ))),
            _ => Ok(None),
        }
    }

    async fn raise_format(&self) -> StoreResult<Option<u32>> {
        let answer = FORMAT.keys([self.keys.format()]).value(OWN).read(&self.nodes).await?;
        let before: String = read_as("the stored format", answer)?;
        if before.is_empty() { Ok(None) } else { number(&before).map(Some) }
    }
}
