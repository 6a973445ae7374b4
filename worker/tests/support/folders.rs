//! Copies of folders.

use std::path::Path;

/// Copies a folder and its subfolders, only the files whose names are `wanted`.
pub(crate) fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to, wanted);
        } else if wanted(&entry.file_name().to_string_lossy()) {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}
