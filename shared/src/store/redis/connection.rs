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
    // The library's own timeout covers the socket, not the handshake with a frozen server.
    let client = Client::open(info.clone())?;
    let opening = client.get_multiplexed_async_connection_with_config(&config);
    match tokio::time::timeout(CONNECT, opening).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(reason(info, error).await),
        Err(_) => Err(Failure::Away("no connection within 2 s".to_owned())),
    }
}

/// Settings of a connection whose commands have the timeout `response`.
pub(super) fn timeouts(response: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(response))
}

/// A server that closes a connection at once sends the reason first; the library reports only the end.
async fn reason(info: ConnectionInfo, error: RedisError) -> Failure {
    let closed = error.is_connection_dropped() && !error.is_connection_refusal();
    match closed {
        true => session::first_words(info).await.map_or(Failure::Redis(error), Failure::Redis),
        false => Failure::Redis(error),
    }
}
