//! The paths of the fixtures.

use std::path::{Path, PathBuf};

/// The folder of the fixtures.
pub(crate) fn parity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity")
}
