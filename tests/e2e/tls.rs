//! Redis over TLS, with a certificate authority of the operator's own.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use glimpse_test_support::{RedisServer, Sentinel};
use serde_json::json;

use super::{
    certificates::{certificates, file},
    stack::{Process, SOON, client, picture},
};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Arguments of a server that listens for TLS too, and says with `clients` whether they need certificates.
fn listening(folder: &Path, port: u16, clients: &str) -> Vec<String> {
    let (cert, key, ca) = (file(folder, "leaf.pem"), file(folder, "leaf.key"), file(folder, "ca.pem"));
    format!(
        "--tls-port {port} --tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {ca} \
         --tls-auth-clients {clients}"
    )
    .split(' ')
    .map(str::to_owned)
    .collect()
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

async fn is_ready(address: &str) -> bool {
    client().get(format!("{address}/health/ready")).send().await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_speaks_tls_with_its_redis() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let port = free_port();
    let _redis = RedisServer::start_with(&words(&listening(folder.path(), port, "no")));
    let url = format!("rediss://127.0.0.1:{port}");

    let api = ["--redis-url", &url, "--listen", "127.0.0.1:0"];
    let ca = file(folder.path(), "ca.pem");
    let trusting = [("SSL_CERT_FILE", ca.as_str())];
    let mut trusts = Process::start_with("glimpse-api", &api, &trusting);
    let address = trusts.address().await;
    assert!(is_ready(&address).await, "{}", trusts.log());
    // Without the authority or without TLS a process ends with an error.
    let plain = url.replace("rediss", "redis");
    for (args, said) in [
        (api, "SSL_CERT_FILE"),
        (["--redis-url", &plain, "--listen", "127.0.0.1:0"], "use rediss:// instead of redis://"),
    ] {
        let mut unfit = Process::start("glimpse-api", &args);
        assert_eq!(unfit.exit(SOON).await.code(), Some(2), "{}", unfit.log());
        assert!(unfit.log().contains(said), "{}", unfit.log());
    }
    let picky = free_port();
    let _picky = RedisServer::start_with(&words(&listening(folder.path(), picky, "yes")));
    let picky = format!("rediss://127.0.0.1:{picky}");
    let args = ["--redis-url", &picky, "--listen", "127.0.0.1:0"];
    let mut unfit = Process::start_with("glimpse-api", &args, &trusting);
    assert_eq!(unfit.exit(SOON).await.code(), Some(2), "{}", unfit.log());
    assert!(unfit.log().contains("set tls-auth-clients no"), "{}", unfit.log());

    let worker = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    let worker = Process::start_with("glimpse-worker", &worker, &trusting);
    let begun = Instant::now();
    let body = json!({ "prompt": "a red heart on a white background", "num_inference_steps": 2 });
    let answer = loop {
        let answer = client().post(format!("{address}/glimpse/demo")).json(&body).send().await.unwrap();
        if answer.status() != 404 {
            break answer;
        }
        assert!(begun.elapsed() < SOON, "the worker never came: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(picture(&answer["image"]["url"]).width(), 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_master_are_spoken_to_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (port, sentinel) = (free_port(), free_port());
    let _redis = RedisServer::start_with(&words(&listening(folder.path(), port, "no")));
    let mut args = listening(folder.path(), sentinel, "no");
    args.extend(["--tls-replication", "yes"].map(str::to_owned));
    let _sentinel = Sentinel::at(port, 1, &words(&args));
    let ca = file(folder.path(), "ca.pem");
    for (scheme, trusts, said) in
        [("rediss", true, None), ("rediss", false, Some("SSL_CERT_FILE")), ("redis", true, Some("rediss"))]
    {
        let url = format!("{scheme}+sentinel://127.0.0.1:{sentinel}/fleet");
        let trusting: &[(&str, &str)] = if trusts { &[("SSL_CERT_FILE", &ca)] } else { &[] };
        let args = ["--redis-url", &url, "--listen", "127.0.0.1:0"];
        let mut api = Process::start_with("glimpse-api", &args, trusting);
        match said {
            None => assert!(is_ready(&api.address().await).await, "{}", api.log()),
            Some(said) => {
                assert_eq!(api.exit(SOON).await.code(), Some(2), "{}", api.log());
                assert!(api.log().contains(said), "{scheme}, trusts: {trusts}: {}", api.log());
            }
        }
    }
}
