//! Connections: how they are accepted, and how they end when the process does.

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
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    config::Config,
    connection::{ClientInput, SharedStream},
    fetch::Fetcher,
    routes::router,
    state::{Api, Shared},
};

/// What a client has not read waits with us, where a newer preview can take its place, and not in the kernel.
const UNSENT_IN_KERNEL: u32 = 64 * 1024;
/// The same for the connection's own buffer; also the most that a request's head may have.
const UNSENT_IN_CONNECTION: usize = 64 * 1024;
/// How long a connection may take to send a request's head, and how long it may be idle between requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may come from a client's machine before it is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(60);
/// After the grace: for the last words to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After that: for telling the store about clients that have gone.
const LAST_TASKS: Duration = Duration::from_secs(2);
/// How long to wait when the system has no connection to give.
const OUT_OF_CONNECTIONS: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shutdown`, then ends in good order: no new connections; followers that
/// can resume are sent elsewhere; clients of fal's routes are served for the grace and then cut off. Ends at
/// once when nobody is connected, and 4 s after the grace at the latest.
///
/// # Errors
/// When the listener cannot say its address or accept at all; when pictures may be fetched and the system has no
/// certificates to trust. If they may, rustls must have a provider by now.
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
    connections.end(&api, grace).await;
    Ok(())
}

struct Connections {
    router: Router,
    /// Waits for the connections; those that are idle end when the process drains.
    open: GracefulShutdown,
    /// Cancelled when they are to end whatever they do.
    closing: CancellationToken,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) if only_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for the moment");
                    tokio::time::sleep(OUT_OF_CONNECTIONS).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        if let Err(error) = tune(&stream) {
            // It works without, only less well.
            tracing::debug!(%error, "a connection's options cannot be set");
        }
        let (input, closing) = (ClientInput::default(), self.closing.clone());
        let service = {
            let (input, router) = (input.clone(), self.router.clone());
            service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(input.clone());
                router.clone().oneshot(request.map(Body::new))
            })
        };
        let stream = Arc::new(stream);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
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
                // A client that hangs up or does not speak HTTP, or a stream that we cut off.
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
            if tokio::time::timeout(LAST_WORDS, &mut ended).await.is_err() {
                self.closing.cancel();
                ended.await;
            }
        }
        api.tasks.close();
        if tokio::time::timeout(LAST_TASKS, api.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = api.tasks.len(), "the store was not told of all clients that have gone");
        }
        tracing::info!(seconds = started.elapsed().as_secs_f64(), "drained");
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL)?;
    Ok(())
}

/// Errors that say nothing about the listener: this client went away before it was accepted.
fn only_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
