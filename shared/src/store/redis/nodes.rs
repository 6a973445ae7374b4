//! Which server holds a key, and the connections to it.
//!
//! Each of our commands uses one slot, so a cluster needs only one pool per node and a map of slots. A single server is
//! a cluster of one node that is never asked for its map; for a master with sentinels the map comes from them. A
//! command is never sent twice without the caller's knowledge, unless the server reports that it did not run it
//! (`MOVED`).

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool::managed::PoolError;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind,
    Value, aio::MultiplexedConnection,
};

use super::{
    connection::{COMMAND, open},
    discovery,
    failure::Failure,
    pool::{Pool, Pooled, pool},
    slots::{Map, slot},
    target::{Target, Topology},
};

/// How long replicas may take to receive a write.
const REPLICATION: Duration = Duration::from_secs(1);
/// How often a command follows a slot that has moved.
const MOVES: usize = 3;

/// The servers.
pub(super) struct Nodes {
    target: Target,
    known: Mutex<Known>,
    /// Held while a map of slots is fetched: one fetch serves all waiting callers.
    mapping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// Empty until it is needed, and after any sign that it is out of date.
    slots: Map,
    /// The masters of the last map: the seeds of a long-lived process may be gone.
    masters: Vec<ConnectionAddr>,
    pools: HashMap<String, Pool>,
}

impl Nodes {
    pub(super) fn new(target: Target) -> Self {
        Self { target, known: Mutex::default(), mapping: tokio::sync::Mutex::default() }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.target.topology == Topology::Cluster
    }

    /// Sends a command to the node that holds `key`, the command's first.
    pub(super) async fn query(&self, key: &str, command: &Cmd) -> Result<Value, Failure> {
        self.query_through(key, command).await.map(|(answer, _)| answer)
    }

    /// The same; also returns the connection that was used.
    pub(super) async fn query_through(&self, key: &str, command: &Cmd) -> Result<(Value, Pooled), Failure> {
        let mut moves = 0;
        loop {
            let at = self.locate(key).await?;
            let address = at.addr().to_string();
            let pool = self.pool(at)?;
            let mut connection = match tokio::time::timeout(COMMAND, pool.get()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    self.forget();
                    return Err(no_connection(error));
                }
                Err(_) => return Err(Failure::Away("no connection within 5 s".to_owned())),
            };
            match connection.send(command).await {
                Err(error) if is_moved(&error) && moves < MOVES => {
                    moves += 1;
                    self.forget();
                }
                Err(error) => {
                    if is_misplaced(&error) {
                        // A demoted master answers PING like any other server, so the pool would keep the connection.
                        drop(Pooled::take(connection));
                        self.forget();
                    }
                    if error.is_io_error() {
                        pool.manager().doubt();
                    }
                    if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                        // The same holds for its other connections, and their data may be old.
                        lock(&self.known).pools.remove(&address);
                    }
                    return Err(error.into());
                }
                Ok(value) => return Ok((value, connection)),
            }
        }
    }

    /// A separate connection to the node that holds `key`.
    pub(super) async fn open(
        &self,
        key: &str,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Failure> {
        let info = self.locate(key).await?;
        let opened = open(info, config).await;
        if opened.is_err() {
            self.forget();
        }
        opened
    }

    /// Marks the map of slots as out of date.
    pub(super) fn forget(&self) {
        lock(&self.known).slots.clear();
    }

    fn pool(&self, info: ConnectionInfo) -> Result<Pool, Failure> {
        let address = info.addr().to_string();
        let mut known = lock(&self.known);
        if let Some(pool) = known.pools.get(&address) {
            return Ok(pool.clone());
        }
        let pool = pool(info)?;
        known.pools.insert(address, pool.clone());
        Ok(pool)
    }

    async fn locate(&self, key: &str) -> Result<ConnectionInfo, Failure> {
        // If no node responds, the waiting callers would otherwise time out one after the other.
        match tokio::time::timeout(COMMAND, self.find(key)).await {
            Ok(found) => found,
            Err(_) => Err(Failure::Away("no node answered within 5 s which one holds the key".to_owned())),
        }
    }

    async fn find(&self, key: &str) -> Result<ConnectionInfo, Failure> {
        if self.target.topology == Topology::Server {
            return Ok(self.target.like.clone());
        }
        let slot = slot(key);
        if let Some(info) = self.mapped(slot) {
            return Ok(info);
        }
        let _mapping = self.mapping.lock().await;
        if let Some(info) = self.mapped(slot) {
            return Ok(info);
        }
        let masters = lock(&self.known).masters.clone();
        let slots = discovery::map(&self.target, &masters).await?;
        {
            let mut known = lock(&self.known);
            known.masters = slots.iter().map(|(_, address)| address.clone()).collect();
            known.slots = slots;
            // Servers that are not on the map are dropped: a fleet may outlive many servers.
            let on_it: HashSet<_> = known.masters.iter().map(ConnectionAddr::to_string).collect();
            known.pools.retain(|address, _| on_it.contains(address));
        }
        self.mapped(slot).ok_or_else(|| Failure::Away(format!("no node holds slot {slot}")))
    }

    fn mapped(&self, slot: u16) -> Option<ConnectionInfo> {
        let known = lock(&self.known);
        let (_, address) = known.slots.iter().find(|(range, _)| range.contains(&slot))?;
        Some(self.target.like.clone().set_addr(address.clone()))
    }
}

/// How many replicas have the writes of this connection, when `wanted` have them or after a second.
pub(super) async fn replicas_with(connection: &mut Pooled, wanted: u32) -> Result<u32, Failure> {
    let mut wait = redis::cmd("WAIT");
    wait.arg(wanted).arg(REPLICATION.as_millis() as u64);
    let replicas = connection.send(&wait).await?;
    Ok(redis::from_redis_value(replicas).map_err(RedisError::from)?)
}

fn no_connection(error: PoolError<Failure>) -> Failure {
    match error {
        PoolError::Backend(failure) => failure,
        other => Failure::Away(other.to_string()),
    }
}

fn is_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

/// Whether another node, or another connection, may work.
fn is_misplaced(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly};
    error.is_io_error()
        || matches!(error.kind(), ErrorKind::Server(Moved | Ask | ReadOnly | ClusterDown | MasterDown))
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // No code under this lock can leave the value half changed.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
