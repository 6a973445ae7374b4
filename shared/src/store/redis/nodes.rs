//! Finds the node that holds a key, and keeps the connections to the nodes.
//!
//! Each of our commands uses one slot, so a cluster needs one pool per node and a slot map. A single server needs no
//! map. For a master with sentinels the sentinels give the map. A command is sent again only after `MOVED`: then the
//! server did not run it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
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
use crate::metrics::RedisSeconds;

/// The timeout of WAIT: for replicas to receive a write.
const REPLICATION: Duration = Duration::from_secs(1);
/// The maximum of `MOVED` replies that a command follows.
const MOVES: usize = 3;

/// The servers.
pub(super) struct Nodes {
    target: Target,
    known: Mutex<Known>,
    /// Locked while the slot map is fetched: one fetch serves all waiting callers.
    mapping: tokio::sync::Mutex<()>,
    seconds: RedisSeconds,
}

#[derive(Default)]
struct Known {
    /// Empty until it is fetched, and when it may be out of date.
    slots: Map,
    /// The masters of the last map. They are asked for the next map, because the seeds may be gone.
    masters: Vec<ConnectionAddr>,
    pools: HashMap<String, Pool>,
}

impl Nodes {
    pub(super) fn new(target: Target, seconds: RedisSeconds) -> Self {
        Self { target, known: Mutex::default(), mapping: tokio::sync::Mutex::default(), seconds }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.target.topology == Topology::Cluster
    }

    /// Sends a command to the node that holds `key`, the first key of the command.
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
                Err(_) => return Err(Failure::NoConnection("no connection within 5 s".to_owned())),
            };
            let sent = Instant::now();
            let answer = connection.send(command).await;
            self.seconds.observe(sent.elapsed());
            match answer {
                Err(error) if is_moved(&error) && moves < MOVES => {
                    moves += 1;
                    self.forget();
                }
                Err(error) => {
                    if is_misplaced(&error) {
                        // A demoted master answers PING, so the pool would keep the connection.
                        drop(Pooled::take(connection));
                        self.forget();
                    }
                    if error.is_io_error() {
                        pool.manager().mark_broken();
                    }
                    if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                        // The server is a replica now, and its data may be old: drop its other connections too.
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

    /// The address of the node that holds `key`, if it is known.
    pub(super) async fn address_of(&self, key: &str) -> Option<ConnectionAddr> {
        self.locate(key).await.ok().map(|info| info.addr().clone())
    }

    /// Forgets the slot map.
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
        // Without this timeout the waiting callers would time out one after the other.
        match tokio::time::timeout(COMMAND, self.find(key)).await {
            Ok(found) => found,
            Err(_) => Err(Failure::NoConnection("no node returned a slot map within 5 s".to_owned())),
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
            // Drops the pools of servers that are not on the map.
            let on_it: HashSet<_> = known.masters.iter().map(ConnectionAddr::to_string).collect();
            known.pools.retain(|address, _| on_it.contains(address));
        }
        self.mapped(slot).ok_or_else(|| Failure::NoConnection(format!("no node holds slot {slot}")))
    }

    fn mapped(&self, slot: u16) -> Option<ConnectionInfo> {
        let known = lock(&self.known);
        let (_, address) = known.slots.iter().find(|(range, _)| range.contains(&slot))?;
        Some(self.target.like.clone().set_addr(address.clone()))
    }
}

/// Waits until `wanted` replicas have the writes of this connection, at most a second. Returns how many have them.
pub(super) async fn replicas_with(connection: &mut Pooled, wanted: u32) -> Result<u32, Failure> {
    let mut wait = redis::cmd("WAIT");
    wait.arg(wanted).arg(REPLICATION.as_millis() as u64);
    let replicas = connection.send(&wait).await?;
    Ok(redis::from_redis_value(replicas).map_err(RedisError::from)?)
}

fn no_connection(error: PoolError<Failure>) -> Failure {
    match error {
        PoolError::Backend(failure) => failure,
        other => Failure::NoConnection(other.to_string()),
    }
}

fn is_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

/// Whether the command may work on another node or another connection.
fn is_misplaced(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly};
    error.is_io_error()
        || matches!(error.kind(), ErrorKind::Server(Moved | Ask | ReadOnly | ClusterDown | MasterDown))
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // A panic cannot leave the value half changed.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
