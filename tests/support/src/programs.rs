//! The workspace's programs, never older than their sources.
//!
//! `cargo test --workspace` has built them all, and then this only looks at times. A run of one package's tests builds
//! that package's programs alone: the others are built here if they are missing or old.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::{Duration, SystemTime},
};

/// How long a program may take for what must come, on a machine that is busy with others.
pub const SOON: Duration = Duration::from_secs(60);

/// What was found to be as its sources are, in this process.
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
    // Held while cargo builds: whoever else wants the program waits for it.
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if current.insert(program.clone()) && !is_current(&program, &manifests()) {
        build(folder, what);
        assert!(program.is_file(), "cargo built no {}", program.display());
    }
    program
}

/// Whether a program is newer than all that it was built from.
fn is_current(program: &Path, manifests: &[PathBuf]) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let Some(built) = time(program) else { return false };
    // What cargo writes beside each program: `program: source source`, spaces within a path as `\ `.
    let Ok(list) = std::fs::read_to_string(program.with_extension("d")) else { return false };
    let Some((_, sources)) = list.trim_end().split_once(": ") else { return false };
    let sources = sources.replace("\\ ", "\0");
    let sources = sources.split(' ').map(|source| PathBuf::from(source.replace('\0', " ")));
    let is_older = |path: PathBuf| time(&path).is_some_and(|changed: SystemTime| changed <= built);
    sources.chain(manifests.iter().cloned()).all(is_older)
}

/// What decides a build beside sources.
fn manifests() -> Vec<PathBuf> {
    let names = ["Cargo.toml", "Cargo.lock", "shared/Cargo.toml", "api/Cargo.toml", "worker/Cargo.toml"];
    names.iter().map(|name| root().join(name)).collect()
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
    // What cargo says of the package under test: some build scripts look at it, and would run again.
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
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_program_is_current_while_nothing_of_it_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let written = |name: &str, age: u64| {
            let file = File::create(path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        let list = [path("program"), path("lib.rs"), path("two words.rs")];
        let [program, one, two] = list.map(|path| path.display().to_string().replace(' ', "\\ "));
        let is_current = || is_current(&path("program"), &[path("Cargo.toml")]);
        assert!(!is_current(), "it is missing");

        written("program", 10);
        assert!(!is_current(), "nobody knows its sources");

        fs::write(path("program.d"), format!("{program}: {one} {two}\n")).unwrap();
        for name in ["lib.rs", "two words.rs", "Cargo.toml"] {
            written(name, 20);
        }
        assert!(is_current());

        for name in ["lib.rs", "two words.rs", "Cargo.toml"] {
            written(name, 5);
            assert!(!is_current(), "{name} was changed");
            written(name, 20);
        }
        fs::remove_file(path("lib.rs")).unwrap();
        assert!(!is_current(), "a source is gone");
    }
}
