//! One slot of the fleet: a process that is restarted when it dies, and its own proxy to Redis.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use glimpse_test_support::{Proxy, programs};

use crate::{
    plan::{DEMO, SCRIPTED},
    release::{Release, previous},
};

pub use glimpse_test_support::programs::SOON;

/// The program of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Api,
    /// A scripted worker that returns its job to the queue at once when it drains, or finishes it within the grace.
    Scripted {
        drain_grace: &'static str,
    },
    /// The real worker, with the demo model.
    Demo,
}

/// A slot of the fleet.
pub struct Place {
    pub name: String,
    pub role: Role,
    /// That of the next process.
    pub release: Mutex<Release>,
    pub proxy: Proxy,
    /// Held by the fault that the process has at the moment: one at a time.
    pub process: tokio::sync::Mutex<Process>,
    /// The same for its connection to Redis.
    pub way: tokio::sync::Mutex<()>,
    /// The address of its API.
    pub address: Mutex<Option<String>>,
    folder: PathBuf,
    starts: AtomicUsize,
}

impl Place {
    pub fn new(name: String, role: Role, redis: u16, folder: &Path) -> Self {
        let (proxy, starts) = (Proxy::before(redis), AtomicUsize::new(0));
        let release = if previous().is_some() { Release::Previous } else { Release::Todays };
        let process = Process::start(&name, role, release, proxy.port(), folder, 0);
        let release = Mutex::new(release);
        let (folder, address) = (folder.to_owned(), Mutex::default());
        let (process, way) = (tokio::sync::Mutex::new(process), tokio::sync::Mutex::default());
        Self { name, role, release, proxy, process, way, address, folder, starts }
    }

    pub fn is_api(&self) -> bool {
        self.role == Role::Api
    }

    /// Starts a new process in place of one that has ended.
    pub async fn start(&self, process: &mut Process) {
        let number = self.starts.fetch_add(1, Ordering::SeqCst) + 1;
        let release = *self.release.lock().unwrap();
        *process = Process::start(&self.name, self.role, release, self.proxy.port(), &self.folder, number);
        self.until_started(process).await;
    }

    /// Waits until an API listens, and publishes its address.
    pub async fn until_started(&self, process: &mut Process) {
        if self.is_api() {
            let address = process.address().await;
            *self.address.lock().unwrap() = Some(address);
        }
    }

    /// The newest worker that was ready in this slot, whatever fault it has.
    pub fn worker(&self) -> Option<String> {
        let log = log_file(&self.folder, &self.name, self.starts.load(Ordering::SeqCst));
        worker_of(&std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Removes the address of its API.
    pub fn leave(&self) {
        *self.address.lock().unwrap() = None;
    }
}

/// A running process. Killed when dropped.
pub struct Process {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Process {
    fn start(name: &str, role: Role, release: Release, redis: u16, folder: &Path, number: usize) -> Self {
        let url = format!("redis://127.0.0.1:{redis}");
        let scripted = ["--app", SCRIPTED, "--checkpoint-every", "0.3", "--drain-grace"];
        let beside = env!("CARGO_BIN_EXE_glimpse");
        let (program, args) = match role {
            Role::Api => {
                let args =
                    vec!["--listen", "127.0.0.1:0", "--shutdown-grace", "3", "--allow-private-webhooks"];
                ("glimpse-api", args)
            }
            Role::Scripted { drain_grace } => {
                let args = [&scripted[..], &[drain_grace]].concat();
                ("examples/scripted_worker", args)
            }
            Role::Demo => {
                let args = vec!["--app", DEMO, "--model", "models/demo", "--device", "cpu"];
                ("glimpse-worker", args)
            }
        };
        let binary = match (previous().filter(|_| release == Release::Previous), program) {
            (Some(folder), _) => folder.join(program),
            (None, "examples/scripted_worker") => programs::example(beside, "scripted_worker"),
            (None, _) => programs::program(beside, program),
        };
        let (out, log) = (folder.join(format!("{name}-{number}.out")), log_file(folder, name, number));
        let child = Command::new(binary)
            .args(["--redis-url", &url])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, out, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A worker's id, from its own log; `None` until it is ready for jobs.
    pub fn worker(&self) -> Option<String> {
        worker_of(&self.log())
    }

    /// `kill -SIGNAL`. A process that has just ended on its own does not receive it.
    pub fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; `None` if it does not end in time.
    pub async fn exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || begun.elapsed() > within {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        programs::resident(self.child.id())
    }

    /// The address of the line `listening on http://ADDR`.
    async fn address(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let out = std::fs::read_to_string(&self.out).unwrap_or_default();
            if let Some(address) = out.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix('\n'))
            {
                return address.to_owned();
            }
            assert!(self.ended().is_none() && begun.elapsed() < SOON, "no API: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn log_file(folder: &Path, name: &str, number: usize) -> PathBuf {
    folder.join(format!("{name}-{number}.log"))
}

fn worker_of(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("ready for jobs"))?;
    line.split_once("worker=")?.1.split_whitespace().next().map(str::to_owned)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
