//! A master with a replica, and the sentinels that watch them.

use tempfile::TempDir;

use crate::{RedisServer, SOON, until};

const SENTINELS: usize = 3;
/// The sentinels' name for the master.
const SERVICE: &str = "fleet";

/// One sentinel.
#[derive(Debug)]
pub struct Sentinel {
    /// The process; it speaks RESP like any server.
    pub server: RedisServer,
    /// The configuration file that it was started with, and that it rewrites.
    _file: TempDir,
}

impl Sentinel {
    /// Starts one that watches `master`; `quorum` sentinels must agree that the master is down.
    pub fn of(master: &RedisServer, quorum: usize) -> Self {
        Self::at(master.port(), quorum, &[])
    }

    /// The same for a master at the given port of 127.0.0.1, with arguments for the sentinel.
    pub fn at(master: u16, quorum: usize, args: &[&str]) -> Self {
        let watch = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 4000\n"
        );
        let folder = tempfile::tempdir().expect("a folder for a sentinel");
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, &watch).expect("a sentinel's file");
        let file = file.display().to_string();
        let server = RedisServer::start_with(&[&[&file, "--sentinel"], args].concat());
        Self { server, _file: folder }
    }
}

/// Three sentinels around a master and its replica, with a short `down-after-milliseconds`.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<Sentinel>,
    master: RedisServer,
    replica: RedisServer,
}

impl Sentinels {
    /// Starts all of them and waits until each sentinel knows the others.
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica = master.start_replica();
        let sentinels: Vec<_> = (0..SENTINELS).map(|_| Sentinel::of(&master, SENTINELS / 2 + 1)).collect();
        for sentinel in &sentinels {
            until("the sentinels to find each other", SOON, || {
                let known = format!("slaves=1,sentinels={SENTINELS}");
                sentinel.server.ask(&["INFO", "sentinel"]).text().contains(&known)
            });
        }
        Self { sentinels, master, replica }
    }

    /// `redis+sentinel://…` with every sentinel.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.server.port())).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// The sentinels.
    pub fn sentinels_mut(&mut self) -> &mut [Sentinel] {
        &mut self.sentinels
    }

    /// The first master and its replica.
    pub fn pair(&self) -> [&RedisServer; 2] {
        [&self.master, &self.replica]
    }

    /// The first master.
    pub fn first(&mut self) -> &mut RedisServer {
        &mut self.master
    }
}
