//! The environment of the process: an empty variable counts as not set.
//!
//! Compose files and unit files often set empty variables (`GLIMPSE_APP=`). Flags read them, and so do libraries
//! (`SSL_CERT_FILE`), each in its own way.

use std::{env, ffi::OsStr, os::unix::process::CommandExt, process::Command};

/// Prefixes of the variables that we define or read.
const OURS: [&str; 5] = ["GLIMPSE_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "SSL_CERT_"];
/// One more variable that we read.
const CACHE: &str = "XDG_CACHE_HOME";

/// Removes the empty variables from the environment. Call it first in `main`.
///
/// Removing a variable from a running process is unsafe, because another thread may read it. So the process executes
/// its own program again, without the empty variables.
pub fn forget_empty() {
    let empty: Vec<_> = env::vars_os().filter(|(name, value)| value.is_empty() && is_ours(name)).collect();
    if empty.is_empty() {
        return;
    }
    let mut arguments = env::args_os();
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments);
    for (name, _) in empty {
        again.env_remove(name);
    }
    // `exec` returns only an error. Then flags and libraries read the empty variables.
    let error = again.exec();
    eprintln!("glimpse: cannot remove empty variables from the environment: {error}");
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == CACHE || OURS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_variables_are_removed() {
        for ours in ["GLIMPSE_APP", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "SSL_CERT_FILE", "XDG_CACHE_HOME"] {
            assert!(is_ours(OsStr::new(ours)), "{ours}");
        }
        for others in ["CUDA_VISIBLE_DEVICES", "PATH", "MY_GLIMPSE_APP"] {
            assert!(!is_ours(OsStr::new(others)), "{others}");
        }
    }
}
