//! What `deploy` ships: its files can be read, and its names are those of the programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use glimpse_shared::metrics::{Metrics, Role};
use glimpse_test_support::metrics::Parsed;
use serde_json::Value;

use super::stack::binary;

#[cfg(test)]
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `deploy` and the compose file, with these endings.
#[cfg(test)]
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (vec![root().join("docker-compose.yml")], vec![root().join("deploy")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    let ending = |path: &PathBuf| path.extension().unwrap_or_default().to_string_lossy().into_owned();
    found.retain(|path| endings.contains(&ending(path).as_str()));
    found
}

#[cfg(test)]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The documents of a YAML file.
#[cfg(test)]
fn documents(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of a text that begin with `start`.
#[cfg(test)]
fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !inside(c)).filter(|word| word.starts_with(start)).collect()
}

/// All families of all processes.
#[cfg(test)]
fn families() -> BTreeMap<String, String> {
    let of = |role| Parsed::of(&Metrics::new(role).text(Vec::new()).unwrap()).families().clone();
    [Role::Serve, Role::Api, Role::Worker].into_iter().flat_map(of).collect()
}

#[test]
fn all_files_can_be_read() {
    let yaml = files(&["yaml", "yml"]);
    assert!(yaml.len() > 12, "{yaml:?}");
    for path in &yaml {
        assert!(!documents(path).is_empty(), "{}", path.display());
    }
    for path in files(&["json"]) {
        let _: Value = serde_json::from_str(&read(&path)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_metric_that_is_named_exists_and_the_dashboard_shows_all() {
    let families = families();
    let exists = |word: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|ending| {
            let family = word.strip_suffix(ending).and_then(|name| families.get(name));
            family.is_some_and(|kind| kind == "histogram")
        });
        families.get(word).is_some_and(|kind| kind != "histogram") || of_histogram
    };
    let mut named = 0;
    for path in files(&["json", "yaml", "yml"]) {
        let text = read(&path);
        for word in words(&text, "glimpse_") {
            assert!(exists(word), "{}: {word} is no metric", path.display());
            named += 1;
        }
    }
    assert!(named > 20);
    let dashboard = read(&root().join("deploy/grafana/glimpse.json"));
    for family in families.keys() {
        assert!(
            words(&dashboard, "glimpse_").iter().any(|word| word.starts_with(family.as_str())),
            "{family}"
        );
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let rules = documents(&root().join("deploy/prometheus/alerts.yml"));
    let rules: Vec<_> = rules[0]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect();
    assert!(rules.len() > 5);
    let operations = read(&root().join("docs/operations.md"));
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], anchor.as_str());
        assert!(operations.contains(&format!("\n### {name}\n")), "{name} has no runbook");
        assert!(!words(rule["expr"].as_str().unwrap(), "glimpse_").is_empty() || name == "GlimpseDown");
    }
}

/// Flags of docker, kubectl and systemctl, in comments.
const OTHERS: [&str; 5] = ["profile", "scale", "now", "from-literal", "from-file"];

/// The variables and flags that a program has.
#[cfg(test)]
fn help(program: &str, args: &[&str]) -> String {
    let output = Command::new(binary(program)).args(args).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_variable_that_is_set_is_one_of_the_programs() {
    let help: String =
        [help("glimpse", &["serve"]), help("glimpse-api", &[]), help("glimpse-worker", &[])].concat();
    let known = words(&help, "GLIMPSE_");
    // Of the host, for the compose file alone; and those that a listen address for other machines needs.
    let others: BTreeSet<&str> = ["GLIMPSE_MODELS"].into();
    for path in files(&["yaml", "yml", "service"]) {
        let text = read(&path);
        for name in words(&text, "GLIMPSE_") {
            assert!(known.contains(name) || others.contains(name), "{}: {name}", path.display());
        }
        let named = text.split_whitespace().filter_map(|word| {
            let flag = word.trim_matches(['(', ')', ',', '.', ':']).strip_prefix("--")?;
            flag.split('=').next().filter(|flag| flag.starts_with(|c: char| c.is_ascii_alphabetic()))
        });
        for flag in named.filter(|flag| !OTHERS.contains(flag)) {
            assert!(help.contains(&format!("--{flag}")), "{}: --{flag}", path.display());
        }
    }
}

/// The documents of this kind in `deploy/kubernetes`.
#[cfg(test)]
fn of_kind(kind: &str) -> Vec<Value> {
    let yaml = files(&["yaml"]).into_iter().filter(|path| path.starts_with(root().join("deploy/kubernetes")));
    yaml.flat_map(|path| documents(&path)).filter(|document| document["kind"] == kind).collect()
}

#[test]
fn kubernetes_has_what_a_fleet_needs() {
    for kind in ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ScaledObject"] {
        assert!(!of_kind(kind).is_empty(), "{kind}");
    }
    for deployment in of_kind("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        // A patch has only what it changes.
        if container["image"].is_null() {
            continue;
        }
        let name = &deployment["metadata"]["name"];
        for probe in ["readinessProbe", "livenessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            assert!(["/health/ready", "/health/live"].contains(&path), "{name}: {path}");
        }
        assert!(container["lifecycle"]["preStop"]["exec"]["command"].is_array(), "{name}");
        let variable = |wanted: &str| {
            let all = container["env"].as_array().unwrap();
            all.iter().find(|variable| variable["name"] == wanted).map(|variable| variable["value"].clone())
        };
        let grace = variable("GLIMPSE_SHUTDOWN_GRACE").or_else(|| variable("GLIMPSE_DRAIN_GRACE")).unwrap();
        let grace: i64 = grace.as_str().unwrap().parse().unwrap();
        let wait: i64 =
            container["lifecycle"]["preStop"]["exec"]["command"][1].as_str().unwrap().parse().unwrap();
        assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() >= grace + wait + 4, "{name}");
    }
    let scaled = &of_kind("ScaledObject")[0];
    let query = scaled["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap();
    assert!(query.contains("glimpse_expected_wait_seconds"), "{query}");
}

#[test]
fn every_resource_of_a_kustomization_exists() {
    for path in files(&["yaml"]).into_iter().filter(|path| path.ends_with("kustomization.yaml")) {
        let folder = path.parent().unwrap();
        let document = &documents(&path)[0];
        let resources = document["resources"].as_array().unwrap().iter();
        let patches = document["patches"].as_array().into_iter().flatten().map(|patch| &patch["path"]);
        for named in resources.chain(patches) {
            let named = folder.join(named.as_str().unwrap());
            let found = named.is_file() || named.join("kustomization.yaml").is_file();
            assert!(found, "{}: {} does not exist", path.display(), named.display());
        }
    }
}

#[test]
fn every_unit_of_systemd_waits_for_readiness_and_gives_time_to_end() {
    let units = files(&["service"]);
    assert_eq!(units.len(), 3);
    for path in units {
        let text = read(&path);
        for line in
            ["Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "RestartPreventExitStatus=2"]
        {
            assert!(text.lines().any(|has| has == line), "{}: {line}", path.display());
        }
        let stop = text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
        assert!(stop.parse::<u32>().unwrap() > 34, "{}", path.display());
    }
}
