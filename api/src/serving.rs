//! Serves one connection: TLS or not, HTTP/1 or HTTP/2.

use std::{
    convert::Infallible,
    error::Error,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, Version, header},
};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    connection::{ClientInput, HostUnclear, Peer, RawConnection, Scheme, SharedStream},
    opening::{Opening, Speaks},
    tls::Tls,
};

/// The size of hyper's buffer for a connection; also the largest head of a request.
const UNSENT_IN_CONNECTION: usize = 64 * 1024;
/// The timeout for the first bytes of a connection, for the head of a request, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The timeout for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// HTTP/2: the requests of a connection that may be open at once. Further ones wait at the client.
const STREAMS: u32 = 200;
/// HTTP/2: the bytes of bodies that a client may send before they are read, for a stream and for a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// HTTP/2: the streams that a client may reset before this process has seen them. At more the connection is closed.
const UNSEEN_RESETS: usize = 20;

type Served = Result<(), Box<dyn Error + Send + Sync>>;

/// A connection, and what it is served with.
pub(crate) struct Connection {
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) peer: Peer,
    pub(crate) router: Router,
    pub(crate) tls: Option<Tls>,
    /// Cancelled at the start of the shutdown: idle connections are closed, others after their requests.
    pub(crate) draining: CancellationToken,
    /// Counts the tasks of connections.
    pub(crate) open: TaskTracker,
}

impl Connection {
    /// Serves it to its end.
    ///
    /// # Errors
    /// When the client disconnected or did not send HTTP, or this process cut a stream.
    pub(crate) async fn serve(self) -> Served {
        let Some(opening) = self.early(HEAD_TIMEOUT, Opening::read(&self.stream)).await? else {
            return Ok(());
        };
        let stream = SharedStream::new(self.stream.clone(), opening.begun);
        match (opening.speaks, &self.tls) {
            (Speaks::Tls, Some(tls)) => match self.early(HANDSHAKE_TIMEOUT, tls.accept(stream)).await? {
                Some((stream, true)) => self.http2(stream, Scheme::Https).await,
                Some((stream, false)) => self.http1(stream, Scheme::Https).await,
                None => Ok(()),
            },
            (Speaks::Http2, _) => self.http2(stream, Scheme::Http).await,
            (Speaks::Tls, None) => {
                tracing::debug!("a client wants https, but there is no certificate: set --tls-dir");
                self.http1(stream, Scheme::Http).await
            }
            (Speaks::Http1, _) => self.http1(stream, Scheme::Http).await,
        }
    }

    /// A part of a connection before its first request. `None` if this process shuts down meanwhile.
    async fn early<T>(
        &self,
        within: Duration,
        part: impl Future<Output = std::io::Result<T>>,
    ) -> Result<Option<T>, Box<dyn Error + Send + Sync>> {
        tokio::select! {
            biased;
            part = timeout(within, part) => Ok(Some(part??)),
            () = self.draining.cancelled() => Ok(None),
        }
    }

    async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: Scheme,
    ) -> Served {
        let input = ClientInput::default();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(UNSENT_IN_CONNECTION)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), self.service(scheme, input.clone()))
            .with_upgrades();
        let (mut connection, mut gone) = (pin!(connection), pin!(input.watch(&self.stream)));
        let mut draining = false;
        loop {
            tokio::select! {
                served = &mut connection => return Ok(served?),
                () = &mut gone => return Ok(()),
                () = self.draining.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: Scheme,
    ) -> Served {
        let requests = Requests::new(self.open.clone());
        let connection = http2::Builder::new(requests.clone())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(UNSENT_IN_CONNECTION as u32)
            .max_send_buf_size(UNSENT_IN_CONNECTION)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(UNSEEN_RESETS)
            .serve_connection(TokioIo::new(stream), self.service(scheme, ClientInput::default()));
        let mut connection = pin!(connection);
        let mut idle = interval_at(Instant::now() + HEAD_TIMEOUT, HEAD_TIMEOUT);
        let (mut draining, mut ending, mut seen) = (false, false, 0);
        loop {
            tokio::select! {
                served = &mut connection => return Ok(served?),
                () = self.draining.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = idle.tick() => {
                    let is_idle = requests.are_none_since(&mut seen);
                    if is_idle && ending {
                        // The client was told to close, and did not.
                        return Ok(());
                    }
                    if is_idle {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    /// The routes, for the requests of this connection.
    fn service(
        &self,
        scheme: Scheme,
        input: ClientInput,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    > + use<> {
        let (router, peer) = (self.router.clone(), self.peer);
        let raw = RawConnection(self.stream.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert(input.clone());
            extensions.insert(peer);
            extensions.insert(scheme);
            extensions.insert(raw.clone());
            named_host(&mut request);
            router.clone().oneshot(request.map(Body::new))
        })
    }
}

/// Gives a request that names its host in its target (HTTP/2, and an absolute target of HTTP/1) the `Host` header that
/// says the same, so that the routes need to know only one. Marks a request of HTTP/1.1 whose host is unclear.
fn named_host<T>(request: &mut Request<T>) {
    let named = request.headers().get_all(header::HOST).iter().count();
    let is_least = if request.version() == Version::HTTP_11 { 1 } else { 0 };
    if !(is_least..=1).contains(&named) {
        request.extensions_mut().insert(HostUnclear);
    }
    let authority = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(authority) = authority {
        request.headers_mut().insert(header::HOST, authority);
    }
}

/// The requests of a connection of HTTP/2. Each runs as a task, which counts as the connection's.
#[derive(Clone)]
struct Requests {
    open: TaskTracker,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Requests {
    fn new(open: TaskTracker) -> Self {
        Self { open, counts: Arc::default() }
    }

    /// Whether no request is open, and none has begun since the last call, which saw `seen`.
    fn are_none_since(&self, seen: &mut usize) -> bool {
        let ended = self.counts.ended.load(Ordering::SeqCst);
        let begun = self.counts.begun.load(Ordering::SeqCst);
        let before = std::mem::replace(seen, begun);
        begun == ended && begun == before
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        /// Counts the end of a request, also if its task is dropped.
        struct Counted(Arc<Counts>);

        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.ended.fetch_add(1, Ordering::SeqCst);
            }
        }

        self.counts.begun.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(self.counts.clone());
        self.open.spawn(async move {
            let _counted = counted;
            request.await;
        });
    }
}
