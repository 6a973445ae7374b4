//! The allowed dependencies: between packages by the manifests, between files by the names in them.

mod chance;
mod circles;
mod crates;
mod modules;
mod names;
mod planted;
mod workspace;

use self::{
    chance::unseeded_in,
    circles::circles,
    crates::Family,
    modules::Crate,
    names::Tests,
    workspace::{Kind, packages, root},
};

/// The packages with a direct dependency on a crate of the family, also only for tests.
fn dependents(of: Family) -> Vec<String> {
    let packages = packages().into_iter();
    let depends = packages.filter(|package| package.dependencies.iter().any(|on| of.has(&on.name)));
    depends.map(|package| package.name).collect()
}

#[test]
fn only_the_store_knows_redis() {
    assert_eq!(dependents(Family::Redis), ["glimpse-shared"]);
}

#[test]
fn only_the_worker_knows_tensors() {
    assert_eq!(dependents(Family::Candle), ["glimpse-worker"]);
}

#[test]
fn api_and_worker_meet_in_shared_alone() {
    let ours = |name: &str| -> Vec<String> {
        let package = packages().into_iter().find(|package| package.name == name).unwrap();
        let normal = package.dependencies.into_iter().filter(|on| on.kind == Kind::Normal);
        normal.map(|on| on.name).filter(|name| name.starts_with("glimpse")).collect()
    };
    assert!(ours("glimpse-shared").is_empty());
    assert_eq!(ours("glimpse-api"), ["glimpse-shared"]);
    assert_eq!(ours("glimpse-worker"), ["glimpse-shared"]);
}

/// The files that name a crate of the family, except in the allowed folders.
fn named(family: Family, allowed: &[&str]) -> Vec<String> {
    let (mut found, mut read) = (Vec::new(), 0);
    for package in packages() {
        let renamed = family.names_in(&package);
        for file in package.sources() {
            if allowed.iter().any(|folder| file.starts_with(folder)) {
                continue;
            }
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            let places = family.named_in(&text, &renamed).into_iter();
            found.extend(places.map(|place| format!("{}:{place}", file.display())));
            read += 1;
        }
    }
    assert!(read > 100, "the test looks at the sources");
    found
}

#[test]
fn the_redis_crate_is_named_in_one_folder() {
    // The example measures the cost of checkpoints in Redis, with its own connection.
    let allowed = ["shared/src/store/redis", "shared/examples/checkpoints.rs"];
    assert_eq!(named(Family::Redis, &allowed), [""; 0]);
}

#[test]
fn the_candle_crates_are_named_in_the_worker_alone() {
    assert_eq!(named(Family::Candle, &["worker"]), [""; 0]);
}

#[test]
fn tests_take_their_chance_from_a_seed() {
    let mut found = Vec::new();
    for file in packages().iter().flat_map(|package| package.sources()) {
        // Where the cases get their seed, and where the words to look for are written.
        let is_home = ["tests/support/src/fuzz/mod.rs", "tests/e2e/architecture"]
            .iter()
            .any(|home| file.starts_with(home));
        let is_test = file.iter().any(|part| part == "tests") || file.ends_with("redis/garbage.rs");
        if is_test && !is_home {
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            found.extend(unseeded_in(&text).into_iter().map(|place| format!("{}:{place}", file.display())));
        }
    }
    assert_eq!(found, [""; 0]);
}

/// Of every library, program, test and example. What counts as a use is in `modules.rs`.
#[test]
fn no_modules_use_each_other_in_a_circle() {
    let (mut found, mut read) = (Vec::new(), 0);
    for package in packages() {
        for target in &package.crates {
            let tests = if target.is_test { Tests::Counted } else { Tests::LeftOut };
            let modules = Crate::read(&target.root, tests);
            read += modules.len();
            let circles = circles(&modules.uses()).into_iter();
            let root = target.root.strip_prefix(root()).unwrap().display();
            found.extend(circles.map(|circle| format!("{root}: {circle}\n")));
        }
    }
    assert!(read > 300, "the test looks at the sources");
    let advice = "move what both need into a file that uses neither";
    assert!(found.is_empty(), "circles of modules; {advice}:\n{}", found.concat());
}
