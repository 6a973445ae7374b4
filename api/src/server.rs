//! Accepts connections, and ends them when the process shuts down.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use glimpse_shared::store::SharedStore;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt;

use crate::{
    config::Config,
    connection::{ClientInput, Peer, SharedStream},
    fetch::Fetcher,
    routes::{router, webhook_body},
    state::{Api, Shared},
    webhooks::calls,
};

/// The limit of unsent bytes of a connection in the kernel. More bytes wait in this process, where a newer preview can
/// replace them.
const UNSENT_IN_KERNEL: u32 = 64 * 1024;
/// The size of hyper's buffer for a connection; also the largest head of a request.
const UNSENT_IN_CONNECTION: usize = 64 * 1024;
/// The timeout for the head of a request, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The idle time before TCP keepalive probes a client.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// After the grace: the timeout to send the last data.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// After that: the timeout to cancel the jobs of disconnected clients.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay before the next accept after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shutdown`, then shuts down gracefully: it accepts no new connections,
/// disconnects followers that can resume, and serves clients of fal's routes until the grace is over. It calls no more
/// webhooks. It returns as soon as no client is connected and no call is open, at the latest 4 s after the grace.
///
/// # Errors
/// If the listener's address cannot be read. If `allow_image_urls` is set and the system has no trusted certificates;
/// with this flag rustls must have a provider before the call.
pub async fn serve(
    listener: TcpListener,
    store: SharedStore,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let grace = config.shutdown_grace;
    let fetcher = config
        .allow_image_urls
        .then(|| Fetcher::new(config.fetch_limits, &config.allow_image_hosts))
        .transpose()?;
    let api = Shared::new(store, config, listener.local_addr()?, fetcher);
    let calling = AbortOnDropHandle::new(tokio::spawn(calls::call_all(api.clone(), webhook_body)));
    let connections = Connections {
        router: router(api.clone()),
        open: GracefulShutdown::new(),
        closing: CancellationToken::new(),
    };
    tokio::select! {
        accepted = connections.accept(&listener) => accepted?,
        () = shutdown => {}
    }
    drop(listener);
    let end = Instant::now() + grace + FLUSH_TIMEOUT + CANCEL_TIMEOUT;
    connections.end(&api, grace).await;
    calls::end(calling, end).await;
    Ok(())
}

struct Connections {
    router: Router,
    /// The open connections. A shutdown closes idle ones and waits for the others.
    open: GracefulShutdown,
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
        let (input, closing) = (ClientInput::default(), self.closing.clone());
        let service = {
            let (input, router) = (input.clone(), self.router.clone());
            service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(input.clone());
                request.extensions_mut().insert(peer);
                router.clone().oneshot(request.map(Body::new))
            })
        };
        let stream = Arc::new(stream);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(UNSENT_IN_CONNECTION)
            .half_close(true)
            .serve_connection(TokioIo::new(SharedStream(stream.clone())), service);
        let connection = self.open.watch(connection);
        tokio::spawn(async move {
            let served = tokio::select! {
                served = connection => served,
                () = input.watch(&stream) => Ok(()),
                () = closing.cancelled() => Ok(()),
            };
            if let Err(error) = served {
                // The client disconnected or did not send HTTP, or this process cut a stream.
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }

    async fn end(self, api: &Api, grace: Duration) {
        let started = Instant::now();
        api.draining.cancel();
        tracing::info!(connections = self.open.count(), "draining");
        let mut ended = pin!(self.open.shutdown());
        if tokio::time::timeout(grace, &mut ended).await.is_err() {
            api.ending.cancel();
            if tokio::time::timeout(FLUSH_TIMEOUT, &mut ended).await.is_err() {
                self.closing.cancel();
                ended.await;
            }
        }
        api.tasks.close();
        if tokio::time::timeout(CANCEL_TIMEOUT, api.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = api.tasks.len(),
                "the jobs of some disconnected clients could not be cancelled in time"
            );
        }
        tracing::info!(seconds = started.elapsed().as_secs_f64(), "drained");
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
