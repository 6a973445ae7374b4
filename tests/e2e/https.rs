//! https with a certificate that the server makes, and with the operator's own.

use std::{fs, path::Path, process::Command};

use super::{
    certificates::{certificates, file},
    stack::{Process, SOON},
};

/// Verifies as strictly as Python 3.13 does by default, for each name.
const STRICT: &str = r#"
import http.client, socket, ssl, sys
ca, port, *names = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
for name in names:
    with socket.create_connection(("127.0.0.1", int(port))) as tcp:
        try:
            with context.wrap_socket(tcp, server_hostname=name) as tls:
                tls.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
                print(name, tls.recv(15).decode())
        except ssl.SSLCertVerificationError as error:
            print(name, error.verify_message)
"#;

fn python(ca: &Path, address: &str, names: &[&str]) -> String {
    let (_, port) = address.rsplit_once(':').unwrap();
    let run = Command::new("tests/sdk/.venv/bin/python")
        .args(["-c", STRICT, &ca.display().to_string(), port])
        .args(names)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_client_trusts_what_the_server_makes_and_still_does_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("tls");
    let ca = folder.path().join("trusted.pem");
    for start in 0..2 {
        let dir = made.display().to_string();
        let env = [("GLIMPSE_TLS_DIR", &*dir)];
        let mut server = Process::start_with("glimpse", &["serve", "--listen", "127.0.0.1:0"], &env);
        let address = server.address().await;
        if start == 0 {
            fs::copy(made.join("ca.pem"), &ca).unwrap();
        }
        let said = python(&ca, &address, &["localhost", "127.0.0.1", "::1", "example.com"]);
        let mut lines = said.lines();
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(lines.next(), Some(&*format!("{name} HTTP/1.1 200 OK")), "{said}");
        }
        assert!(lines.next().unwrap().contains("Hostname mismatch"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_certificate_is_used() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (cert, key) = (file(folder.path(), "leaf.pem"), file(folder.path(), "leaf.key"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let mut server = Process::start("glimpse", &args);
    let address = server.address().await;
    let ca = reqwest::Certificate::from_pem(&fs::read(folder.path().join("ca.pem")).unwrap()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    for address in [address.clone(), address.replace("http:", "https:")] {
        let live = client.get(format!("{address}/health/live")).send().await.unwrap();
        assert_eq!(live.status(), 200, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_ends_the_process_before_anything_starts() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path());
    certificates(other.path());
    let ours = |name: &str| file(folder.path(), name);
    let (cert, key, ca) = (ours("leaf.pem"), ours("leaf.key"), ours("ca.pem"));
    let (foreign, missing) = (file(other.path(), "leaf.key"), ours("missing.pem"));
    let folder_of_theirs = tempfile::tempdir().unwrap();
    fs::copy(&cert, folder_of_theirs.path().join("cert.pem")).unwrap();
    let theirs = folder_of_theirs.path().display().to_string();
    for (flags, said) in [
        (vec!["--tls-cert", &cert], "--tls-key"),
        (vec!["--tls-key", &key], "--tls-cert"),
        (vec!["--tls-cert", &cert, "--tls-key", &key, "--tls-dir", &theirs], "cannot be used with"),
        (vec!["--tls-cert", &missing, "--tls-key", &key], "missing.pem"),
        (vec!["--tls-cert", &cert, "--tls-key", &foreign], "does not belong to"),
        (vec!["--tls-cert", &key, "--tls-key", &key], "no certificate"),
        (vec!["--tls-cert", &cert, "--tls-key", &ca], "no private key"),
        (vec!["--tls-dir", &theirs], "did not make"),
        (vec!["--tls-dir", &cert], "leaf.pem"),
    ] {
        for (program, first) in [("glimpse", &["serve"][..]), ("glimpse-api", &[])] {
            let args = [first, &flags, &["--listen", "127.0.0.1:0"]].concat();
            let mut unfit = Process::start(program, &args);
            assert_eq!(unfit.exit(SOON).await.code(), Some(2), "{flags:?}: {}", unfit.log());
            assert!(unfit.log().contains(said), "{flags:?}: {}", unfit.log());
        }
    }
}
