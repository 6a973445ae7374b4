//! `glimpse doctor`: what it prints, for people and for programs, and its exit codes.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use glimpse_test_support::RedisServer;
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
    for name in ["DEVICE", "MODEL", "REDIS_URL", "LISTEN", "KEYS_FILE"] {
        command.env_remove(format!("GLIMPSE_{name}"));
    }
    command.arg("doctor").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// The lines of checks, without the table of operations.
#[cfg(test)]
fn checks(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("FAIL ")).collect()
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
    let table = lines.take_while(|line| !line.starts_with("ok "));
    for line in table {
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
        let [line, disk] = checks(&text)[..] else { panic!("{text}") };
        assert!(disk.starts_with("ok disk ") || disk.starts_with("FAIL disk "), "{text}");
        let rest = line.strip_prefix(&format!("FAIL device {device}: ")).unwrap();
        let (why, what_to_do) = rest.split_once("; ").unwrap();
        assert!(why.contains(said) && what_to_do.contains(advice), "{line}");
        assert!(what_to_do.contains("--device cpu"), "{line}");
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

#[test]
fn what_a_flag_names_is_checked() {
    let redis = RedisServer::start();
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let args =
        ["--device", "cpu", "--model", "models/demo", "--redis-url", &redis.url(), "--listen", &listen];
    let output = doctor(&args);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let lines = checks(&text);
    let starts =
        ["ok device cpu", "ok disk ", "ok model models/demo: ", "ok redis redis://", "ok listen 127.0.0.1:"];
    assert_eq!(lines.len(), starts.len(), "{text}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    for said in ["Redis 7", "standalone", "all rights are there", "ms", "clock agrees", "every command"] {
        assert!(lines[3].contains(said), "{said}: {}", lines[3]);
    }
    let json = doctor(&[&args[..], &["--json"]].concat());
    let object: Value = serde_json::from_str(&out(&json)).unwrap();
    let ok: Vec<_> = object["checks"].as_array().unwrap().iter().map(|check| check["ok"].clone()).collect();
    assert_eq!(ok, vec![Value::from(true); 4]);
}

#[test]
fn a_failed_check_says_what_to_do_and_no_password() {
    let redis = RedisServer::start();
    redis.ask(&["CONFIG", "SET", "requirepass", "right-word"]);
    let wrong = format!("redis://:wr0ng-word@127.0.0.1:{}", redis.port());
    let away = "redis://someone:s3cret-word@127.0.0.1:9".to_owned();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (args, line) in [
        (["--redis-url", &wrong], "FAIL redis redis://…@127.0.0.1:"),
        (["--redis-url", &away], "FAIL redis redis://…@127.0.0.1:9: "),
        (["--listen", &listen], "FAIL listen 127.0.0.1:"),
        (["--model", "no/such/model/at/all"], "FAIL model no/such/model/at/all: "),
        (["--keys-file", "/no/such/keys.toml"], "FAIL keys /no/such/keys.toml: "),
    ] {
        let output = doctor(&[&["--device", "cpu"][..], &args].concat());
        let text = out(&output) + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let failed = checks(&text).into_iter().find(|check| check.starts_with("FAIL")).unwrap().to_owned();
        assert!(failed.starts_with(line) && failed.contains("; "), "{failed}");
        assert!(!text.contains("-word"), "{text}");
    }
    let url = format!("redis://:right-word@127.0.0.1:{}", redis.port());
    let output = doctor(&["--device", "cpu", "--redis-url", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert!(!out(&output).contains("-word"));
}
