//! One redis-server process.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    SOON,
    resp::{self, Reply},
    until,
};

/// How many ports are tried: another process can take a free port first.
const TRIES: usize = 10;

/// A `redis-server` of the test's own, with a data folder; stopped and removed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    port: u16,
    folder: TempDir,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts a server whose append-only file is on the disk before it answers, so that a kill loses nothing, and waits
    /// until it responds.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with `args` and waits until it responds. A configuration file, if any, comes first.
    pub fn start_with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let folder = tempfile::tempdir().expect("a folder for Redis' data");
        for _ in 0..TRIES {
            let port = free_port();
            let mut process = spawn(port, folder.path(), &args);
            if answers(&mut process, port) {
                return Self { process, port, folder, args };
            }
            process.wait().expect("redis-server ends");
        }
        panic!("redis-server does not start: {}", log_of(folder.path()));
    }

    /// Starts a replica of this server and waits until it is in sync.
    pub fn start_replica(&self) -> Self {
        // Otherwise the master waits five seconds for more replicas before it sends its data.
        self.ask(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &self.port.to_string()]);
        until("the replica to follow", SOON, || {
            replica.ask(&["INFO", "replication"]).text().contains("master_link_status:up")
                && self.ask(&["INFO", "replication"]).text().contains("state=online")
        });
        replica
    }

    /// The port that it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends one command; panics if there is no reply.
    pub fn ask(&self, words: &[&str]) -> Reply {
        self.try_ask(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}; {}", log_of(self.folder.path())))
    }

    /// Sends one command whose words need not be text; panics if there is no reply, and if it is an error.
    pub fn ask_bytes(&self, words: &[&[u8]]) -> Reply {
        match resp::ask_bytes(self.port, words) {
            Ok(Reply::Error(error)) => panic!("{error}"),
            answered => answered.unwrap_or_else(|error| panic!("{error}; {}", log_of(self.folder.path()))),
        }
    }

    /// Sends one command.
    pub fn try_ask(&self, words: &[&str]) -> std::io::Result<Reply> {
        resp::ask(self.port, words)
    }

    /// Ends it as a crash would (`kill -9`).
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        self.process.wait().expect("a killed redis-server ends");
    }

    /// Restarts it on the same port with the same data, after [`RedisServer::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.port, self.folder.path(), &self.args);
        assert!(
            answers(&mut self.process, self.port),
            "redis-server does not come back: {}",
            log_of(self.folder.path())
        );
    }

    /// Restarts it with additional `args`, and does not wait until it has read its file: until then it answers
    /// `LOADING`.
    pub fn restart_loading(&mut self, args: &[&str]) {
        self.kill();
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self.process = spawn(self.port, self.folder.path(), &self.args);
        until(
            "redis-server to load",
            SOON,
            || matches!(self.try_ask(&["PING"]), Ok(Reply::Error(why)) if why.starts_with("LOADING")),
        );
    }

    /// A copy of all its data now, as `redis-cli --rdb` makes it.
    pub fn copy(&self) -> Vec<u8> {
        assert_eq!(self.ask(&["SAVE"]), Reply::Text("OK".to_owned()));
        std::fs::read(self.folder.path().join("dump.rdb")).expect("the file of SAVE")
    }

    /// Ends it as a crash would, and starts it with the data of a copy. It must have no append-only file.
    pub fn restore(&mut self, copy: &[u8]) {
        self.kill();
        std::fs::write(self.folder.path().join("dump.rdb"), copy).expect("a copy for Redis");
        self.restart();
    }

    /// Freezes it: the kernel accepts connections, and the server does not respond.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`RedisServer::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send {signal} to redis-server");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, folder: &Path, args: &[String]) -> Child {
    let log = File::create(folder.join("log")).expect("a log file for Redis");
    let has_file = args.first().is_some_and(|arg| !arg.starts_with('-'));
    let (file, args) = args.split_at(usize::from(has_file));
    Command::new("redis-server")
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .arg("--dir")
        .arg(folder)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (scripts/test installs it)")
}

/// Waits until the server responds; `false` if it ended instead (because its port was taken, for example).
fn answers(process: &mut Child, port: u16) -> bool {
    let mut ended = false;
    until("redis-server to answer", SOON, || {
        ended = process.try_wait().is_ok_and(|status| status.is_some());
        ended || resp::ask(port, &["PING"]).is_ok_and(|reply| reply == Reply::Text("PONG".to_owned()))
    });
    !ended
}

/// A port that was free a moment ago, and low enough for a cluster bus at port + 10,000.
pub(crate) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("the port").port();
        if port <= u16::MAX - 10_000 {
            return port;
        }
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
