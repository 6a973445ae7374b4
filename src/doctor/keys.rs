//! Checks a file of keys.

use std::path::Path;

use super::check::Check;

/// The line of a keys file. Its form is checked by the reader of the programs that use it.
pub fn check(file: &Path) -> Check {
    let what = format!("keys {}", file.display());
    match std::fs::read_to_string(file) {
        Ok(_) => Check::Ok { what, remarks: vec!["it can be read".to_owned()] },
        Err(error) => Check::Fail {
            what,
            why: format!("it cannot be read: {error}"),
            advice: "name the file of the keys with --keys-file, and let the user of the process read it"
                .to_owned(),
        },
    }
}
