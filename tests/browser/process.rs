//! A running program of the workspace.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use glimpse_test_support::programs;
use tempfile::TempDir;

use crate::driver::SOON;

/// A process of ours. Killed when dropped.
pub struct Process {
    child: Child,
    out: PathBuf,
    log: PathBuf,
    _folder: TempDir,
}

impl Process {
    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a program from the repository's root.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let own = env!("CARGO_BIN_EXE_glimpse");
        let program = if name == "glimpse" { own.into() } else { programs::program(own, name) };
        let folder = tempfile::tempdir().unwrap();
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let child = Command::new(program)
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, out, log, _folder: folder }
    }

    /// The port of the line `listening on http://127.0.0.1:PORT`.
    pub async fn port(&mut self) -> u16 {
        let begun = Instant::now();
        loop {
            let out = std::fs::read_to_string(&self.out).unwrap();
            if let Some(port) = out.strip_suffix('\n').and_then(|line| line.rsplit(':').next()) {
                return port.parse().expect("the line ends with a port");
            }
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none() && begun.elapsed() < SOON, "it does not listen: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- its log\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// `glimpse serve` with the demo model, and its address.
pub async fn demo(flags: &[&str]) -> (Process, String) {
    let mut serve = Process::start("glimpse", &[&["serve", "--listen", "127.0.0.1:0"], flags].concat());
    let address = format!("http://127.0.0.1:{}", serve.port().await);
    (serve, address)
}
