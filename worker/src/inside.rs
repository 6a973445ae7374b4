//! Finds what a request names inside a folder of the operator's, and nothing outside of it.

use std::path::{Path, PathBuf};

/// Why a name leads to nothing in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotInside {
    /// A link leads out of the folder.
    LeadsOut,
    /// A link leads nowhere.
    LeadsNowhere,
    /// There is nothing of that name.
    Absent,
}

/// The real path of `name` in `folder`, which must be a real path itself.
///
/// # Errors
/// If there is no such file or folder inside.
pub(crate) fn find(folder: &Path, name: &str) -> Result<PathBuf, NotInside> {
    // From the top, so that the answer does not say whether a file outside of the folder exists.
    let path = folder.join(name);
    let mut above: Vec<&Path> = path.ancestors().take_while(|above| *above != folder).collect();
    above.reverse();
    let mut real = folder.to_owned();
    for step in above {
        real = match step.canonicalize() {
            Ok(real) if real.starts_with(folder) => real,
            Ok(_) => return Err(NotInside::LeadsOut),
            Err(_) if step.is_symlink() => return Err(NotInside::LeadsNowhere),
            Err(_) => return Err(NotInside::Absent),
        };
    }
    Ok(real)
}
