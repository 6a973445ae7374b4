//! The fleet: processes around one Redis, each behind its own proxy, and the faults that were injected.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, RwLock},
    time::{Duration, Instant},
};

use glimpse_test_support::{RedisServer, Weather, WebhookReceiver};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    hooks,
    plan::{DEMO, SCRIPTED},
    process::{Place, Role, SOON},
    watcher::Watcher,
};

const APIS: usize = 3;
/// Half of them return their job to the queue at once when they drain.
const SCRIPTED_WORKERS: usize = 6;

/// Everything that runs.
pub struct Fleet {
    pub redis: RwLock<RedisServer>,
    /// One fault of Redis at a time.
    pub redis_turn: tokio::sync::Mutex<()>,
    pub watcher: Watcher,
    pub places: Vec<Place>,
    /// It sometimes fails.
    pub receiver: WebhookReceiver,
    /// What happened, for the oracle and for the report.
    pub notes: Mutex<Notes>,
    /// The time since which the faults are over: after it, clients do not wait for ever.
    pub calm: watch::Sender<Option<tokio::time::Instant>>,
    folder: TempDir,
}

/// What happened to the fleet.
#[derive(Debug, Default)]
pub struct Notes {
    pub faults: BTreeMap<&'static str, usize>,
    /// Workers that may have lost their job to a fault.
    pub struck: BTreeSet<String>,
    /// Jobs that lost their worker: by which fault, and when.
    pub lost: Vec<(&'static str, String, Instant)>,
    /// When faults hit something else than a worker.
    pub disturbed: Vec<(Instant, Instant)>,
    /// What should not have happened.
    pub broken: Vec<String>,
}

impl Fleet {
    /// Starts everything and waits until both apps are served.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // With `everysec`, a process that dies while the disk is slow may lose writes that it has answered.
        let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let watcher = Watcher::default();
        watcher.listen(&redis);
        let roles = [Role::Api; APIS].into_iter().chain([Role::Demo]).chain(
            (0..SCRIPTED_WORKERS).map(|n| Role::Scripted { drain_grace: if n % 2 == 0 { "0" } else { "5" } }),
        );
        let places: Vec<_> = roles
            .enumerate()
            .map(|(n, role)| {
                let kind = if role == Role::Api { "api" } else { "worker" };
                Place::new(format!("{kind}{n}"), role, redis.port(), folder.path())
            })
            .collect();
        for place in &places {
            let mut process = place.process.lock().await;
            place.until_started(&mut process).await;
            let begun = Instant::now();
            while !place.is_api() && process.worker().is_none() {
                assert!(begun.elapsed() < SOON, "{} is never ready: {}", place.name, process.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Self {
            redis: RwLock::new(redis),
            redis_turn: tokio::sync::Mutex::default(),
            watcher,
            places,
            receiver: hooks::receiver(),
            notes: Mutex::default(),
            calm: watch::Sender::new(None),
            folder,
        }
    }

    pub fn apps() -> [&'static str; 2] {
        [SCRIPTED, DEMO]
    }

    pub fn apis(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.is_api())
    }

    /// An API that is up, as a balancer with health checks would choose it.
    pub fn an_api(&self, roll: u64) -> Option<String> {
        let up: Vec<_> = self.apis().filter_map(|place| place.address.lock().unwrap().clone()).collect();
        (!up.is_empty()).then(|| up[roll as usize % up.len()].clone())
    }

    pub fn broken(&self, what: String) {
        self.notes.lock().unwrap().broken.push(what);
    }

    /// The memory of the largest API now.
    pub async fn resident(&self) -> u64 {
        let mut most = 0;
        for place in self.apis() {
            most = most.max(place.process.lock().await.resident());
        }
        most
    }

    /// Restarts processes that end on their own: a worker may, with status 1, after a device fault. Runs for as long as
    /// it is polled.
    pub async fn supervise(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for place in &self.places {
                let Ok(mut process) = place.process.try_lock() else { continue };
                let Some(status) = process.ended() else { continue };
                let has_fault = process.log().contains("scripted device fault");
                if place.is_api() || status.code() != Some(1) || !has_fault {
                    self.broken(format!(
                        "{} ended by itself: {status}; {}",
                        place.name,
                        tail(&process.log())
                    ));
                }
                // It gives back a job that it had claimed ahead.
                self.notes.lock().unwrap().struck.extend(process.worker());
                place.start(&mut process).await;
            }
        }
    }

    /// Ends all faults: every connection works, and every process runs.
    pub async fn heal(&self) {
        for place in &self.places {
            let _way = place.way.lock().await;
            place.proxy.set(Weather::Clear);
            place.proxy.refuse(false);
        }
    }

    /// Every process whose log has a panic.
    pub fn panics(&self) -> Vec<String> {
        let logs = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let panicked = |path: &PathBuf| {
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let at = log.find("panicked")?;
            Some(format!("{}: {}", path.display(), log[at..].lines().take(3).collect::<Vec<_>>().join(" ")))
        };
        logs.filter_map(|path| panicked(&path)).collect()
    }

    /// Keeps the logs, and prints where they are.
    pub fn keep_logs(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("glimpse-chaos-{}", std::process::id()));
        copy(self.folder.path(), &kept).map(|()| kept).unwrap_or_else(|_| self.folder.path().to_owned())
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(1000);
    &log[(from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0)..]
}
