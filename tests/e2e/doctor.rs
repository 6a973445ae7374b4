//! `glimpse doctor`: what it prints, for people and for programs, and its exit codes.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::Value;

use super::stack::binary;

/// All operations with a form of their own.
const OPS: [&str; 9] = [
    "addends",
    "attention",
    "conv2d",
    "finite",
    "geglu",
    "group_norm",
    "guided_step",
    "layer_norm",
    "pixels",
];

fn doctor(args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("doctor").args(args).env_remove("GLIMPSE_DEVICE").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_cpu_is_well_and_its_operations_are_a_table() {
    let output = doctor(&["--device", "cpu"]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with("ok device cpu (") && first.ends_with("): compared at small shapes"),
        "{first}"
    );
    let head = lines.next().unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["op", "shape", "dtype", "error", "tolerance", "portable", "own", "used"]
    );
    let used = head.find("used").unwrap();
    let mut ops = BTreeSet::new();
    for line in lines {
        ops.insert(line.split_whitespace().next().unwrap());
        // The columns are aligned.
        assert_eq!(&line[used - 2..], "  own", "{line}");
    }
    assert_eq!(ops, OPS.into());
}

#[test]
fn without_a_gpu_auto_says_why_and_an_explicit_gpu_fails() {
    let output = doctor(&[]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("ok device cpu (") && first.contains("built without CUDA"), "{first}");

    for (device, said, advice) in [
        ("cuda:0", "built without CUDA", "scripts/build-cuda"),
        ("metal:0", "built without Metal", "on a Mac"),
    ] {
        let output = doctor(&["--device", device]);
        let text = out(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = text.strip_suffix('\n').unwrap();
        let rest = line.strip_prefix(&format!("FAIL device {device}: ")).unwrap();
        let (why, what_to_do) = rest.split_once("; ").unwrap();
        assert!(why.contains(said) && what_to_do.contains(advice), "{line}");
        assert!(!line.contains('\n') && what_to_do.contains("--device cpu"), "{line}");
    }
}

#[test]
fn json_is_one_object_with_a_figure_for_each_shape() {
    let output = doctor(&["--device", "cpu", "--json", "--small"]);
    assert_eq!(output.status.code(), Some(0));
    let object: Value = serde_json::from_str(&out(&output)).unwrap();
    assert!(object["device"].as_str().unwrap().starts_with("cpu"), "{object}");
    assert!(object.get("error").is_none());
    let mut ops = BTreeSet::new();
    for row in object["ops"].as_array().unwrap() {
        ops.insert(row["op"].as_str().unwrap());
        let keys: BTreeSet<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["op", "shape", "dtype", "error", "tolerance", "portable_ms", "own_ms", "used"].into();
        assert_eq!(keys, expected);
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(number("error") <= number("tolerance"), "{row}");
        assert!(number("own_ms") > 0.0 && number("portable_ms") > 0.0, "{row}");
        assert_eq!((&row["dtype"], &row["used"]), (&Value::from("f32"), &Value::from("own")));
        assert!(!row["shape"].as_str().unwrap().is_empty());
    }
    assert_eq!(ops, OPS.into());

    let output = doctor(&["--device", "cuda:0", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_str(&out(&output)).unwrap();
    let expected = ("cuda:0".into(), Vec::new());
    assert_eq!((object["device"].clone(), object["ops"].as_array().unwrap().clone()), expected);
    assert!(object["error"].as_str().unwrap().contains("built without CUDA"), "{object}");
}

#[test]
fn a_wrong_flag_is_refused_by_its_name() {
    for (args, named) in [
        (&["--device", "gpu"][..], "expected auto, cpu, cuda:N or metal:N"),
        (&["--device", "cpu:1"], "no number"),
        (&["--device", "cuda:x"], "not a number"),
        (&["--devise", "cpu"], "--devise"),
    ] {
        let output = doctor(args);
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains(named) && said.contains(args[0]) && out(&output).is_empty(),
            "{args:?}: {said}"
        );
    }
}
