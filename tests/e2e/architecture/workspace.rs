//! The workspace's packages, by its own manifests, and their sources.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

pub struct Package {
    pub name: String,
    pub dependencies: Vec<Dependency>,
    pub crates: Vec<Target>,
    folder: PathBuf,
}

/// A library, a program, a test or an example: a crate to the compiler.
pub struct Target {
    /// Its `lib.rs` or `main.rs`.
    pub root: PathBuf,
    /// Whether all of it is for tests.
    pub is_test: bool,
}

pub struct Dependency {
    pub name: String,
    /// What the package's code calls it.
    pub in_code: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    /// For tests or for a build script.
    Other,
}

/// Every package of the workspace.
pub fn packages() -> Vec<Package> {
    let run = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&run.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let dependency = |dependency: &Value| {
        let name = text(&dependency["name"]);
        let in_code = dependency["rename"].as_str().unwrap_or(&name).replace('-', "_");
        let kind = if dependency["kind"].is_null() { Kind::Normal } else { Kind::Other };
        Dependency { name, in_code, kind }
    };
    let target = |target: &Value| {
        let kinds = target["kind"].as_array().unwrap();
        let is_test = kinds.iter().any(|kind| kind == "test");
        Target { root: text(&target["src_path"]).into(), is_test }
    };
    let targets = package["targets"].as_array().unwrap();
    Package {
        name: text(&package["name"]),
        dependencies: package["dependencies"].as_array().unwrap().iter().map(dependency).collect(),
        crates: targets.iter().map(target).collect(),
        folder: Path::new(&text(&package["manifest_path"])).parent().unwrap().to_owned(),
    }
}

impl Package {
    /// Every source file, whether a target reaches it or not, by its path from the repository's root.
    pub fn sources(&self) -> Vec<PathBuf> {
        let mut files = vec![self.folder.join("build.rs")];
        for part in ["src", "tests", "examples", "benches"] {
            collect(&self.folder.join(part), &mut files);
        }
        let inner = |file: &PathBuf| file.strip_prefix(root()).unwrap().to_owned();
        files.iter().filter(|file| file.is_file()).map(inner).collect()
    }
}

/// The Rust files below a folder, without those of a package of its own.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    if folder.join("Cargo.toml").is_file() {
        return;
    }
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
