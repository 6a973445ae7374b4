//! Accepts connections, and ends them when the process shuts down.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use glimpse_shared::store::SharedStore;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    agreement,
    config::Config,
    connection::Peer,
    expiry,
    fetch::Fetcher,
    listening::{Listening, open_keys},
    routes::{router, webhook_body},
    serving::Connection,
    state::{Api, Shared},
    tls::Tls,
    webhooks::calls,
};

/// The limit of unsent bytes of a connection in the kernel. More bytes wait in this process, where a newer preview can
/// replace them.
const UNSENT_IN_KERNEL: u32 = 64 * 1024;
/// The idle time before TCP keepalive probes a client.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// After the grace: the timeout to send the last data.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// After that: the timeout to cancel the jobs of disconnected clients.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay before the next accept after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves the API on `listening` until `shutdown`, then shuts down gracefully: it accepts no new connections,
/// disconnects followers that can resume, and serves clients of fal's routes until the grace is over. It calls no more
/// webhooks. It returns as soon as no client is connected and no call is open, at the latest 4 s after the grace.
///
/// # Errors
/// If the listener's address or the keys cannot be read. If `allow_image_urls` is set and the system has no trusted certificates;
/// with this flag rustls must have a provider before the call.
pub async fn serve(
    listening: impl Into<Listening>,
    store: SharedStore,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Listening { listener, tls, keys } = listening.into();
    let keys = match keys {
        Some(keys) => Some(keys),
        None => open_keys(&config).map_err(io::Error::other)?,
    };
    let (keys, hangups) = keys.unzip();
    let _reloading = keys
        .clone()
        .zip(hangups)
        .map(|(keys, hangups)| AbortOnDropHandle::new(tokio::spawn(keys.reload(hangups))));
    let grace = config.shutdown_grace;
    let fetcher = config
        .allow_image_urls
        .then(|| Fetcher::new(config.fetch_limits, &config.allow_image_hosts))
        .transpose()?;
    let api = Shared::new(store, config, keys, listener.local_addr()?, fetcher);
    let _deleting =
        api.config.results.clone().map(|results| AbortOnDropHandle::new(tokio::spawn(expiry::run(results))));
    let _comparing = AbortOnDropHandle::new(tokio::spawn(agreement::run(api.clone())));
    let calling = AbortOnDropHandle::new(tokio::spawn(calls::call_all(api.clone(), webhook_body)));
    let connections =
        Connections { router: router(api.clone()), tls, api: api.clone(), closing: CancellationToken::new() };
    tokio::select! {
        accepted = connections.accept(&listener) => accepted?,
        () = shutdown => {}
    }
    drop(listener);
    let end = Instant::now() + grace + FLUSH_TIMEOUT + CANCEL_TIMEOUT;
    connections.end(grace).await;
    calls::end(calling, end).await;
    Ok(())
}

struct Connections {
    router: Router,
    tls: Option<Tls>,
    api: Api,
    /// Cancelled to close all connections at once.
    closing: CancellationToken,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, Peer(peer.ip())),
                Err(error) if only_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted at the moment");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: Peer) {
        if let Err(error) = tune(&stream) {
            // The connection also works without these options.
            tracing::debug!(%error, "a connection's options cannot be set");
        }
        let connection = Connection {
            stream: Arc::new(stream),
            peer,
            router: self.router.clone(),
            tls: self.tls.clone(),
            draining: self.api.draining.clone(),
            open: self.api.connections.clone(),
        };
        let closing = self.closing.clone();
        self.api.connections.spawn(async move {
            let served = tokio::select! {
                served = connection.serve() => served,
                () = closing.cancelled() => Ok(()),
            };
            if let Err(error) = served {
                // The client disconnected or did not send HTTP, or this process cut a stream.
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }

    async fn end(self, grace: Duration) {
        let (api, started) = (self.api, Instant::now());
        api.draining.cancel();
        let open = &api.connections;
        open.close();
        tracing::info!(connections = open.len(), "draining");
        if timeout(grace, open.wait()).await.is_err() {
            api.ending.cancel();
            if timeout(FLUSH_TIMEOUT, open.wait()).await.is_err() {
                self.closing.cancel();
                open.wait().await;
            }
        }
        api.tasks.close();
        if timeout(CANCEL_TIMEOUT, api.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = api.tasks.len(),
                "the jobs of some disconnected clients could not be cancelled in time"
            );
        }
        tracing::info!("drained in {:.1} s", started.elapsed().as_secs_f64());
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_IDLE / 4),
    )?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL)?;
    Ok(())
}

/// Errors that do not concern the listener: the client disconnected before it was accepted.
fn only_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
