//! The connections that commands share, kept by deadpool.
//!
//! deadpool-redis asks a connection whether it is alive each time that it hands it out, which costs every command a
//! second round trip. A multiplexed connection notices its own end, so here it is asked only where there is a reason to
//! doubt it: it was not used for a while, its last command was not answered, or another one to this server broke.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{self, Metrics, PoolConfig, RecycleError, RecycleResult, Timeouts},
};
use redis::{
    Cmd, ConnectionInfo, PushInfo, PushKind, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection, SendError},
};

use super::{
    connection::{COMMAND, CONNECT, open, timeouts},
    failure::Failure,
};

/// Connections to one server.
const SIZE: usize = 16;
/// How long after its last answer a connection is used without being asked: what forgets idle connections (a
/// firewall, a load balancer) takes longer.
const TRUSTED: Duration = Duration::from_secs(30);

/// The connections to one server.
pub(super) type Pool = managed::Pool<Connections>;
/// One of them, in use.
pub(super) type Pooled = managed::Object<Connections>;

/// Makes connections, and decides whether one may be used again.
pub(super) struct Connections {
    info: ConnectionInfo,
    /// Asks a connection whether it is alive.
    asking: deadpool_redis::Manager,
    /// When a connection to this server last broke.
    broken: Mutex<Option<Instant>>,
}

/// A connection that commands share, one after the other.
pub(super) struct Connection {
    connection: MultiplexedConnection,
    /// When it last answered; `None` if its last command was not answered.
    answered: Option<Instant>,
    /// The server, or what is between, has closed it.
    closed: Arc<AtomicBool>,
}

/// A pool of connections to one server; none is opened before it is needed.
pub(super) fn pool(info: ConnectionInfo) -> Result<Pool, Failure> {
    let asking = deadpool_redis::Manager::new_with_config(info.clone(), timeouts(COMMAND))?;
    let manager = Connections { info, asking, broken: Mutex::default() };
    let timeouts = Timeouts { wait: Some(COMMAND), create: Some(CONNECT), recycle: Some(CONNECT) };
    let config = PoolConfig { timeouts, ..PoolConfig::new(SIZE) };
    let pool = Pool::builder(manager).config(config).runtime(Runtime::Tokio1).build();
    pool.map_err(|error| Failure::Away(error.to_string()))
}

impl Connection {
    /// Sends a command and waits for its answer.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        // A caller that goes before the answer leaves it so.
        self.answered = None;
        let answer = self.connection.req_packed_command(command).await.and_then(Value::extract_error);
        if !answer.as_ref().is_err_and(|error| error.is_io_error()) {
            self.answered = Some(Instant::now());
        }
        answer
    }
}

impl Connections {
    /// A connection to this server broke: the others are asked before they are used again.
    pub(super) fn doubt(&self) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn trusts(&self, connection: &Connection) -> bool {
        let broken = *self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        connection
            .answered
            .is_some_and(|answered| answered.elapsed() < TRUSTED && broken.is_none_or(|at| at < answered))
    }
}

impl managed::Manager for Connections {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        let closed = Arc::new(AtomicBool::new(false));
        let seen = closed.clone();
        let config = timeouts(COMMAND).set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                seen.store(true, Ordering::Relaxed);
            }
            Ok::<_, SendError>(())
        });
        let connection = open(self.info.clone(), config).await?;
        Ok(Connection { connection, answered: Some(Instant::now()), closed })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<Failure> {
        // An end that has arrived is seen by the connection's own task: once for the runtime to hear of it, once for that
        // task to run.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if connection.closed.load(Ordering::Relaxed) {
            return Err(RecycleError::message("the connection was closed"));
        }
        if !self.trusts(connection) {
            let asked = self.asking.recycle(&mut connection.connection, metrics).await;
            asked.map_err(|error| match error {
                RecycleError::Message(message) => RecycleError::Message(message),
                RecycleError::Backend(error) => RecycleError::Backend(error.into()),
            })?;
            connection.answered = Some(Instant::now());
        }
        Ok(())
    }
}
