//! A master with a replica, and the sentinels that watch them.

use tempfile::TempDir;

use crate::{RedisServer, SOON, until};

const SENTINELS: usize = 3;
/// What the sentinels call the master.
const SERVICE: &str = "fleet";

/// Three sentinels around a master and its replica, quick to notice a death.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<RedisServer>,
    master: RedisServer,
    replica: RedisServer,
    /// What the sentinels write down: the files that they were started with.
    _files: Vec<TempDir>,
}

impl Sentinels {
    /// Starts them all and waits until each sentinel knows all.
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica = master.start_replica();
        let watch = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 4000\n",
            master.port()
        );
        let mut sentinels = Vec::new();
        let mut files = Vec::new();
        for _ in 0..SENTINELS {
            let folder = tempfile::tempdir().expect("a folder for a sentinel");
            let file = folder.path().join("sentinel.conf");
            std::fs::write(&file, &watch).expect("a sentinel's file");
            sentinels.push(RedisServer::start_with(&[&file.display().to_string(), "--sentinel"]));
            files.push(folder);
        }
        let this = Self { sentinels, master, replica, _files: files };
        for sentinel in &this.sentinels {
            until("the sentinels to find each other", SOON, || {
                let known = format!("slaves=1,sentinels={SENTINELS}");
                sentinel.ask(&["INFO", "sentinel"]).text().contains(&known)
            });
        }
        this
    }

    /// `redis+sentinel://…` with every sentinel.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// The sentinels.
    pub fn sentinels_mut(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// The server that was the master at first, and the one that was its replica.
    pub fn pair(&self) -> [&RedisServer; 2] {
        [&self.master, &self.replica]
    }

    /// The server that was the master at first.
    pub fn first(&mut self) -> &mut RedisServer {
        &mut self.master
    }
}
