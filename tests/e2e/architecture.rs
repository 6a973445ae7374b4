//! Who may depend on whom, read from the workspace's own manifests.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

/// The direct, normal dependencies of each package of the workspace.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let run = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&run.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let normal = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    packages.iter().map(|package| (name(package), normal(package))).collect()
}

fn dependents(of: &str) -> Vec<String> {
    let all = dependencies();
    all.into_iter().filter(|(_, needs)| needs.iter().any(|need| need == of)).map(|(name, _)| name).collect()
}

#[test]
fn only_the_store_knows_redis() {
    assert_eq!(dependents("redis"), ["glimpse-shared"]);
    assert_eq!(dependents("deadpool-redis"), ["glimpse-shared"]);
}

#[test]
fn only_the_worker_knows_tensors() {
    for tensors in ["candle-core", "candle-nn"] {
        assert_eq!(dependents(tensors), ["glimpse-worker"]);
    }
}

#[test]
fn api_and_worker_meet_in_shared_alone() {
    let all = dependencies();
    let ours = |package: &str| -> Vec<String> {
        all[package].iter().filter(|name| name.starts_with("glimpse")).cloned().collect()
    };
    assert!(ours("glimpse-shared").is_empty());
    assert_eq!(ours("glimpse-api"), ["glimpse-shared"]);
    assert_eq!(ours("glimpse-worker"), ["glimpse-shared"]);
}

/// Inside `shared`, the manifest cannot tell: the crate may be named in `store/redis` alone.
#[test]
fn the_redis_crate_is_named_in_one_folder() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("shared/src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.ends_with("store/redis") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let named = text
                .lines()
                .any(|line| line.trim_start().starts_with("use redis") || line.contains("deadpool"));
            assert!(!named, "{} names the redis crate", path.display());
        }
    }
    assert!(seen > 10, "the test looks at the sources");
}
