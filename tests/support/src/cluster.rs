//! Three masters that share the slots.

use crate::{RedisServer, Reply, SOON, until};

const SLOTS: u32 = 16_384;
const MASTERS: u32 = 3;

/// A Redis Cluster of three masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the servers, joins them and waits until each finds the cluster whole.
    pub fn start() -> Self {
        let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes"];
        let masters: Vec<_> = (0..MASTERS).map(|_| RedisServer::start_with(&args)).collect();
        for (master, n) in masters.iter().zip(0..) {
            let (first, end) = (n * SLOTS / MASTERS, (n + 1) * SLOTS / MASTERS);
            ok(master, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
            // Each its own epoch: three nodes that all begin at 0 settle it by collisions, which takes a while.
            ok(master, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for master in &masters[1..] {
            ok(master, &["CLUSTER", "MEET", "127.0.0.1", &masters[0].port().to_string()]);
        }
        let cluster = Self { masters };
        cluster.until_whole();
        cluster
    }

    /// Waits until every node sees three masters and all slots.
    pub fn until_whole(&self) {
        for master in &self.masters {
            until("the cluster to be whole", SOON, || {
                let info = master.ask(&["CLUSTER", "INFO"]);
                info.text().contains("cluster_state:ok")
                    && info.text().contains(&format!("cluster_slots_ok:{SLOTS}"))
                    && info.text().contains(&format!("cluster_known_nodes:{MASTERS}"))
            });
        }
    }

    /// Moves the slot of `key` and what is in it to another master, as an operator does to a live cluster.
    pub fn move_slot(&self, key: &str) {
        let Reply::Number(slot) = self.masters[0].ask(&["CLUSTER", "KEYSLOT", key]) else {
            panic!("{key} has no slot");
        };
        let slot = slot.to_string();
        let owns = |master: &RedisServer| {
            // A node answers for its own slots and redirects for the others.
            !matches!(master.ask(&["EXISTS", key]), Reply::Error(_))
        };
        let at = self.masters.iter().position(owns).expect("a master for every slot");
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

    /// The servers, to be killed and restarted.
    pub fn masters_mut(&mut self) -> &mut [RedisServer] {
        &mut self.masters
    }
}

fn ok(server: &RedisServer, words: &[&str]) {
    let reply = server.ask(words);
    assert_eq!(reply, Reply::Text("OK".to_owned()), "{words:?}");
}
