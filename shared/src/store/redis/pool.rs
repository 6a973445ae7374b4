//! The connections of commands, in a deadpool pool.
//!
//! deadpool-redis sends PING before each use of a connection, which costs each command a second round trip. A
//! multiplexed connection detects its own close. So this pool sends PING only if the connection was idle for long, if
//! its last command had no reply, or if another connection to this server broke.

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

/// The maximum of connections to one server.
const SIZE: usize = 16;
/// How long after its last reply a connection is used without PING. Firewalls and load balancers drop idle connections
/// later than this.
const TRUSTED: Duration = Duration::from_secs(30);

/// The connections to one server.
pub(super) type Pool = managed::Pool<Connections>;
/// A connection of the pool, in use.
pub(super) type Pooled = managed::Object<Connections>;

/// Opens connections, and decides whether one may be reused.
pub(super) struct Connections {
    info: ConnectionInfo,
    /// Sends PING.
    pinger: deadpool_redis::Manager,
    /// When a connection to this server last broke.
    broken: Mutex<Option<Instant>>,
}

/// A connection of the pool. It runs one command at a time.
pub(super) struct Connection {
    connection: MultiplexedConnection,
    /// The time of the last reply; `None` if the last command had no reply.
    answered: Option<Instant>,
    /// Whether the connection was closed.
    closed: Arc<AtomicBool>,
}

/// A pool of connections to one server. It opens a connection when a command needs one.
pub(super) fn pool(info: ConnectionInfo) -> Result<Pool, Failure> {
    let pinger = deadpool_redis::Manager::new_with_config(info.clone(), timeouts(COMMAND))?;
    let manager = Connections { info, pinger, broken: Mutex::default() };
    let timeouts = Timeouts { wait: Some(COMMAND), create: Some(CONNECT), recycle: Some(CONNECT) };
    let config = PoolConfig { timeouts, ..PoolConfig::new(SIZE) };
    let pool = Pool::builder(manager).config(config).runtime(Runtime::Tokio1).build();
    pool.map_err(|error| Failure::NoConnection(error.to_string()))
}

impl Connection {
    /// Sends a command and waits for its reply.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        // It stays `None` if the caller drops this future before the reply.
        self.answered = None;
        let answer = self.connection.req_packed_command(command).await.and_then(Value::extract_error);
        if !answer.as_ref().is_err_and(|error| error.is_io_error()) {
            self.answered = Some(Instant::now());
        }
        answer
    }
}

impl Connections {
    /// A connection to this server broke. The others get a PING before they are reused.
    pub(super) fn mark_broken(&self) {
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
        // The connection's task detects a close that has arrived. The first yield lets the runtime see the close, the
        // second lets the task run.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if connection.closed.load(Ordering::Relaxed) {
            return Err(RecycleError::message("the connection was closed"));
        }
        if !self.trusts(connection) {
            let asked = self.pinger.recycle(&mut connection.connection, metrics).await;
            asked.map_err(|error| match error {
                RecycleError::Message(message) => RecycleError::Message(message),
                RecycleError::Backend(error) => RecycleError::Backend(error.into()),
            })?;
            connection.answered = Some(Instant::now());
        }
        Ok(())
    }
}
