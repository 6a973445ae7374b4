//! One connection to one server.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError, aio::MultiplexedConnection};

use super::{failure::Failure, session};

/// The timeout for connecting.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// The timeout of a command, and of its wait for a connection.
pub(super) const COMMAND: Duration = Duration::from_secs(5);

/// Connects and logs in.
pub(super) async fn open(
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Failure> {
    // The library's timeout covers the TCP connect, but not the handshake with a frozen server.
    let client = Client::open(info.clone())?;
    let opening = client.get_multiplexed_async_connection_with_config(&config);
    match tokio::time::timeout(CONNECT, opening).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(reason(info, error).await),
        Err(_) => Err(Failure::NoConnection("cannot connect within 2 s".to_owned())),
    }
}

/// Settings of a connection; `response` is the timeout of each command.
pub(super) fn timeouts(response: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(response))
}

/// The reason why the connection failed. A server that refuses a connection sends the reason and closes it, but the
/// library reports only the close.
async fn reason(info: ConnectionInfo, error: RedisError) -> Failure {
    let closed = error.is_connection_dropped() && !error.is_connection_refusal();
    match closed {
        true => session::refusal_reason(info).await.map_or(Failure::Redis(error), Failure::Redis),
        false => Failure::Redis(error),
    }
}
