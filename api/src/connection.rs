//! Detects whether a client is still connected while its request is served.
//!
//! The end of a client's input is not a disconnect: after a complete request a client may close its sending half and
//! continue to read (netcat, some proxies and HTTP libraries). So hyper runs with `half_close`. Then it does not read
//! while it responds, and detects a disconnect only at its next write. This module detects both earlier. It looks at the
//! TCP connection, so it does the same with TLS: a client that disconnects closes that too.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, Shutdown},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

/// How often to check for the end of the input while there are unread bytes (for example the next request).
const BEHIND_UNREAD: Duration = Duration::from_millis(500);

/// The address of the client, or of the proxy before it. An extension of each of its requests.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The mark of a request that does not say which host it is for: HTTP/1.1 without a `Host` header, or with several.
#[derive(Clone, Copy)]
pub(crate) struct HostUnclear;

/// How a request came to this process. An extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Reports when a client has closed its sending half. An extension of each of its requests. With HTTP/2 it reports
/// nothing: there hyper reads all the time, so it drops a request whose client resets the stream or disconnects.
#[derive(Clone, Default)]
pub(crate) struct ClientInput(CancellationToken);

impl ClientInput {
    /// Resolves when the client has closed its sending half: it has disconnected, or it only reads from now on. The
    /// next write shows which.
    pub(crate) async fn ended(&self) {
        self.0.cancelled().await;
    }

    /// Watches a connection: reports the end of the input, and resolves when the connection is broken.
    pub(crate) async fn watch(&self, stream: &TcpStream) {
        end_of_input(stream).await;
        self.0.cancel();
        // A disconnected client answers a write with a reset; otherwise TCP times out.
        let _ = stream.ready(Interest::ERROR).await;
    }
}

async fn end_of_input(stream: &TcpStream) {
    // An error means that the runtime is shutting down.
    while let Ok(ready) = stream.ready(Interest::READABLE).await
        && !ready.is_read_closed()
    {
        let peek = || SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
        match stream.try_io(Interest::READABLE, peek) {
            Ok(0) => return,
            Ok(_) => tokio::time::sleep(BEHIND_UNREAD).await,
            // `ready` waits for more bytes.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The TCP connection of a request, for a reader that gives up its protocol. An extension of each request.
#[derive(Clone)]
pub(crate) struct RawConnection(pub(crate) Arc<TcpStream>);

impl RawConnection {
    /// Says that nothing more is sent, and reads and discards what comes, until the client closes the connection or
    /// the limits are reached. If unread bytes were there when the connection is closed, TCP would reset it, and the
    /// client could lose what was sent last. Nobody else may read it then.
    pub(crate) async fn end(&self, most: u64, within: Duration) {
        let discarding = async {
            let _ = SockRef::from(&*self.0).shutdown(Shutdown::Write);
            let (mut part, mut read) = ([0; 16 << 10], 0);
            while read < most && self.0.readable().await.is_ok() {
                match self.0.try_read(&mut part) {
                    Ok(0) => return,
                    Ok(length) => read += length as u64,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(within, discarding).await;
    }
}

/// A connection that hyper uses while [`ClientInput::watch`] watches it: tokio's own stream needs a single owner to
/// read and write.
pub(crate) struct SharedStream {
    stream: Arc<TcpStream>,
    /// The first bytes, which are read already.
    begun: Bytes,
}

impl SharedStream {
    /// A connection whose first bytes are `begun`.
    pub(crate) fn new(stream: Arc<TcpStream>, begun: Bytes) -> Self {
        Self { stream, begun }
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let length = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun.split_to(length));
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&*self.stream).shutdown(Shutdown::Write) {
            // The client closed first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        })
    }
}
