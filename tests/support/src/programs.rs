//! The workspace's programs, never older than their sources.
//!
//! `cargo test --workspace` builds all of them, and then this only compares file times. The tests of one package build
//! only its own programs: the others are built here if they are missing or old.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::{Duration, SystemTime},
};

/// The timeout for events of a program that must come, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The programs that this process has found to be current.
static CURRENT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The path of the program `package` of the package of the same name. `beside` is one that cargo built for the
/// caller: all of a profile are in one folder.
pub fn program(beside: &str, package: &str) -> PathBuf {
    current(beside, package, &["--package", package, "--bin", package])
}

/// The path of an example's program. Cargo knows them by names that are unique in this workspace.
pub fn example(beside: &str, name: &str) -> PathBuf {
    current(beside, &format!("examples/{name}"), &["--workspace", "--example", name])
}

/// The memory that a process has resident, in bytes; 0 if it has ended.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn current(beside: &str, name: &str, what: &[&str]) -> PathBuf {
    let folder = Path::new(beside).parent().expect("a program lies in a folder");
    let program = folder.join(name);
    // Locked while cargo builds: other tests wait for the program.
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if current.insert(program.clone()) && !is_current(&program, &sources(name)) {
        build(folder, what);
        assert!(program.is_file(), "cargo built no {}", program.display());
    }
    program
}

/// Whether a program is newer than all files that it is built from.
fn is_current(program: &Path, sources: &[PathBuf]) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let Some(built) = time(program) else { return false };
    sources.iter().all(|source| time(source).is_some_and(|changed: SystemTime| changed <= built))
}

/// The files that a program is built from: manifests, and the sources of its package and of those that this uses.
fn sources(name: &str) -> Vec<PathBuf> {
    let packages: &[&str] = match name {
        "glimpse-worker" => &["shared", "worker"],
        "glimpse-api" => &["shared", "api"],
        _ => &["shared", "api", "worker", "."],
    };
    let folders =
        packages.iter().flat_map(|package| ["src", "examples"].map(|part| root().join(package).join(part)));
    let manifests = ["Cargo.toml", "Cargo.lock", "shared/Cargo.toml", "api/Cargo.toml", "worker/Cargo.toml"];
    let mut files: Vec<_> = manifests.iter().map(|name| root().join(name)).collect();
    folders.for_each(|folder| add_files(&folder, &mut files));
    files
}

/// Adds the files below a folder, which need not exist.
fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry of a readable folder").path();
        if path.is_dir() { add_files(&path, files) } else { files.push(path) }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds with the profile and into the folder of the caller's own program.
fn build(folder: &Path, what: &[&str]) {
    let profile = match folder.file_name().and_then(|name| name.to_str()).expect("a profile's folder") {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    cargo.args(["build", "--quiet", "--locked", "--profile", profile]).args(what);
    cargo
        .arg("--target-dir")
        .arg(folder.parent().expect("a profile's folder lies in cargo's"))
        .current_dir(root());
    // Cargo's variables of the package under test: some build scripts read them and would run again.
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(&name);
        }
    }
    let built = cargo.status().expect("cargo runs");
    assert!(built.success(), "cargo build {}: {built}", what.join(" "));
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_program_is_current_while_nothing_of_it_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, age: u64| {
            let file = File::create(path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        let names = ["lib.rs", "two words.rs", "Cargo.toml"];
        names.iter().for_each(|name| write(name, 20));
        let is_current = || is_current(&path("program"), &names.map(path));
        assert!(!is_current(), "the program is missing");

        write("program", 10);
        assert!(is_current());

        for name in names {
            write(name, 5);
            assert!(!is_current(), "{name} was changed");
            write(name, 20);
        }
        std::fs::remove_file(path("lib.rs")).unwrap();
        assert!(!is_current(), "a source is missing");
    }

    #[test]
    fn the_sources_of_a_program_are_found() {
        let has = |name: &str, source: &str| sources(name).contains(&root().join(source));
        assert!(
            has("glimpse-api", "api/src/main.rs")
                && has("glimpse-api", "shared/src/store/redis/lua/claim.lua")
        );
        assert!(has("glimpse-worker", "worker/src/main.rs") && !has("glimpse-worker", "api/src/main.rs"));
        assert!(has("glimpse", "./src/main.rs") && has("glimpse", "worker/src/lib.rs"));
    }
}
