//! Checks a file of keys.

use std::path::Path;

use super::check::Check;

/// The line of a keys file.
pub fn check(file: &Path) -> Check {
    let what = format!("keys {}", file.display());
    match glimpse_api::count_keys(file) {
        Ok(0) => Check::Ok { what, remarks: vec!["it has no [[key]]: nobody has a right key".to_owned()] },
        Ok(keys) => Check::Ok { what, remarks: vec![format!("{keys} keys")] },
        Err(error) => Check::Fail {
            what,
            why: error.to_string(),
            advice: "correct the file; `glimpse key NAME` prints an entry".to_owned(),
        },
    }
}
