//! Certificates as an operator makes them.

use std::{path::Path, process::Command};

fn openssl(folder: &Path, args: &str) {
    let run = Command::new("openssl").args(args.split(' ')).current_dir(folder).output().unwrap();
    assert!(run.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&run.stderr));
}

/// An authority `ca.pem`, and a certificate of 127.0.0.1 signed by it: `leaf.pem` and `leaf.key`.
pub fn certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {key} -days 2 -keyout ca.key -out ca.pem -subj /CN=authority"));
    openssl(folder, &format!("req {key} -keyout leaf.key -out leaf.csr -subj /CN=server"));
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    let sign =
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out leaf.pem";
    openssl(folder, sign);
}

/// The path of a file.
pub fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
