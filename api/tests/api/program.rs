//! `glimpse-api` as a program: what it says when it cannot start.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

/// Runs the program with these arguments, until it ends by itself.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_glimpse-api")).args(arguments).env_clear().output().unwrap()
}

/// What it writes to standard error.
fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_address_that_cannot_be_used_ends_it_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = taken.local_addr().unwrap().to_string();
    for listen in ["8080", &in_use, "nowhere.invalid:80"] {
        // Nothing listens at this Redis, for which a process would wait.
        let output = run(&["--listen", listen, "--redis-url", "redis://127.0.0.1:1"]);
        assert_eq!(output.status.code(), Some(2), "{listen}: {}", told(&output));
        let said = told(&output);
        assert!(said.contains(&format!("cannot listen on {listen}: ")), "{said}");
        assert!(said.contains("choose another HOST:PORT with --listen"), "{said}");
    }
}

#[test]
fn a_missing_redis_is_an_error_of_the_flags() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let said = told(&output);
    assert!(said.starts_with("error: --redis-url is required"), "{said}");
    assert!(!said.contains("ERROR"), "{said}");
}
