//! Three masters that share the slots, each with a replica if the test needs a failover.

use crate::{RedisServer, Reply, SOON, until};

const SLOTS: u32 = 16_384;
const MASTERS: u32 = 3;

/// A Redis Cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<RedisServer>,
    /// One replica for each master, in the same order, or none.
    replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the servers, joins them and waits until each sees the whole cluster.
    pub fn start() -> Self {
        let masters: Vec<_> = (0..MASTERS).map(|_| node()).collect();
        for (master, n) in masters.iter().zip(0..) {
            let (first, end) = (n * SLOTS / MASTERS, (n + 1) * SLOTS / MASTERS);
            ok(master, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
            // Each gets its own epoch. Three nodes that all start at 0 need some seconds to resolve the collisions.
            ok(master, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for master in &masters[1..] {
            ok(master, &["CLUSTER", "MEET", "127.0.0.1", &masters[0].port().to_string()]);
        }
        let cluster = Self { masters, replicas: Vec::new() };
        cluster.until_whole();
        cluster
    }

    /// The same with a replica of each master.
    pub fn start_with_replicas() -> Self {
        let mut cluster = Self::start();
        cluster.replicas = (0..MASTERS).map(|_| node()).collect();
        for replica in &cluster.replicas {
            ok(replica, &["CLUSTER", "MEET", "127.0.0.1", &cluster.masters[0].port().to_string()]);
        }
        cluster.until_whole();
        for (master, replica) in cluster.masters.iter().zip(&cluster.replicas) {
            ok(master, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
            ok(replica, &["CLUSTER", "REPLICATE", master.ask(&["CLUSTER", "MYID"]).text()]);
            until("the replica to follow", SOON, || {
                replica.ask(&["INFO", "replication"]).text().contains("master_link_status:up")
            });
        }
        cluster
    }

    /// Makes the replica of the master that holds `key` take over while both are alive, as an operator does.
    pub fn fail_over(&self, key: &str) {
        let at = self.master_of(key);
        let replica = self.replicas.get(at).expect("a cluster with replicas");
        until("the replica to take over", SOON, || {
            // The vote may fail; repeat it.
            replica.ask(&["CLUSTER", "FAILOVER"]);
            replica.ask(&["ROLE"]).first() == "master"
        });
    }

    /// A master and its replica.
    pub fn pair(&self, at: usize) -> [&RedisServer; 2] {
        [&self.masters[at], &self.replicas[at]]
    }

    /// The index of the master that holds `key`; after a failover none of them does.
    pub fn master_of(&self, key: &str) -> usize {
        // A node serves its own slots and redirects for the others.
        let owns = |master: &RedisServer| !matches!(master.ask(&["EXISTS", key]), Reply::Error(_));
        self.masters.iter().position(owns).expect("a master for every slot")
    }

    /// Waits until every node sees three masters and all slots.
    pub fn until_whole(&self) {
        let nodes = self.masters.len() + self.replicas.len();
        for master in self.masters.iter().chain(&self.replicas) {
            until("the cluster to be whole", SOON, || {
                let info = master.ask(&["CLUSTER", "INFO"]);
                info.text().contains("cluster_state:ok")
                    && info.text().contains(&format!("cluster_slots_ok:{SLOTS}"))
                    && info.text().contains(&format!("cluster_known_nodes:{nodes}"))
            });
        }
    }

    /// Moves the slot of `key` and its data to another master, as an operator does on a live cluster.
    pub fn move_slot(&self, key: &str) {
        let Reply::Number(slot) = self.masters[0].ask(&["CLUSTER", "KEYSLOT", key]) else {
            panic!("{key} has no slot");
        };
        let slot = slot.to_string();
        let at = self.master_of(key);
        let (source, target) = (&self.masters[at], &self.masters[(at + 1) % self.masters.len()]);
        let id = |master: &RedisServer| master.ask(&["CLUSTER", "MYID"]).text().to_owned();
        ok(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source)]);
        ok(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
        let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        let port = target.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.texts());
        ok(source, &migrate);
        ok(target, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        for master in self.masters.iter().filter(|master| master.port() != target.port()) {
            ok(master, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        }
    }

    /// `redis+cluster://…` with every node.
    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.masters.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// The servers.
    pub fn masters(&self) -> &[RedisServer] {
        &self.masters
    }

    /// The servers, for tests that kill and restart them.
    pub fn masters_mut(&mut self) -> &mut [RedisServer] {
        &mut self.masters
    }
}

fn node() -> RedisServer {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes"];
    RedisServer::start_with(&args)
}

fn ok(server: &RedisServer, words: &[&str]) {
    let reply = server.ask(words);
    assert_eq!(reply, Reply::Text("OK".to_owned()), "{words:?}");
}
