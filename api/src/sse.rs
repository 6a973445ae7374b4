//! Server-sent events: writes a job's events as a body. If the stream breaks, the body does not end normally.

use std::{collections::VecDeque, io, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use glimpse_shared::{
    event::{EventKind, Followed},
    id::{App, JobId},
    metrics::OpenStream,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{client_buffer::ClientBuffer, connection::ClientInput, positions::Position, state::Api};

/// The interval of keep-alive comments: proxies and clients close silent connections.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The interval after the end of the client's input, when only a write shows whether the client is still connected. It
/// starts with `FIRST_PROBE` and doubles: the first comment shows a proxy that its client has disconnected, and then
/// the next comment fails here.
const PROBE: Duration = Duration::from_secs(1);
const FIRST_PROBE: Duration = Duration::from_millis(125);

/// A comment, which clients ignore.
pub(crate) const COMMENT: &[u8] = b": keep-alive\n\n";

/// The delay before a cut, so that the last bytes are sent: hyper drops its buffer together with the connection, and
/// does not report when the buffer is empty.
const LINGER: Duration = Duration::from_millis(250);

/// The format of a job's events.
pub(crate) trait EventFormat: Send + 'static {
    /// Writes an event.
    fn write(&mut self, followed: Followed, out: &mut Out) -> impl Future<Output = ()> + Send;

    /// Writes the position of a job that waits, which may be the one that the client knows. Formats that do not tell
    /// positions ignore it.
    fn position(&mut self, position: u64, out: &mut Out) {
        let _ = (position, out);
    }

    /// Writes the end of a stream whose job continues, because this process shuts down.
    fn stop(&mut self, out: &mut Out);
}

/// The output of a stream: the bytes that are not sent yet, and the kind of its end.
#[derive(Default)]
pub(crate) struct Out {
    chunks: VecDeque<Bytes>,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Whole,
    Cut,
}

impl Out {
    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: impl Into<Bytes>) {
        self.chunks.push_back(bytes.into());
    }

    /// Ends the body normally.
    pub(crate) fn end(&mut self) {
        self.end = Some(End::Whole);
    }

    /// Closes the connection without the end of the body, so that the client detects the error.
    pub(crate) fn cut(&mut self) {
        self.end = Some(End::Cut);
    }
}

/// A stream of a job's events to one client.
pub(crate) struct Relay<F> {
    /// The job's events.
    pub(crate) client_buffer: ClientBuffer,
    /// The format.
    pub(crate) format: F,
    /// Reports the end of the client's input.
    pub(crate) input: ClientInput,
    /// The job, if the client wants to know its position whenever it changes.
    pub(crate) waits: Option<Waits>,
    /// Cancelled when the stream must stop.
    pub(crate) stop: CancellationToken,
    /// This stream's permit.
    pub(crate) _place: OwnedSemaphorePermit,
    /// Counts what is sent.
    pub(crate) open: OpenStream,
}

/// A job whose position is followed while it waits.
pub(crate) struct Waits {
    api: Api,
    app: App,
    id: JobId,
    /// While the job waits.
    position: Option<Position>,
}

impl Waits {
    pub(crate) fn new(api: &Api, app: &App, id: JobId) -> Self {
        Self { api: api.clone(), app: app.clone(), id, position: None }
    }

    /// Takes notice of an event of the job.
    fn heard(&mut self, followed: &Followed) {
        let Followed::Frame(frame) = followed else { return };
        self.position = match frame.kind {
            EventKind::Queued => Some(self.api.positions.follow(&self.app, self.id)),
            _ => None,
        };
    }
}

/// The next position of the job, if it waits.
async fn next_position(waits: &mut Option<Waits>) -> u64 {
    match waits.as_mut().and_then(|waits| waits.position.as_mut()) {
        Some(position) => position.next().await,
        None => std::future::pending().await,
    }
}

/// The streaming response: `out` first, then the relay's events.
pub(crate) fn respond<F: EventFormat>(relay: Relay<F>, out: Out) -> Response {
    let streaming = Streaming { relay, out, written: Instant::now(), silence: KEEP_ALIVE, probing: false };
    let body = stream::unfold(streaming, Streaming::next);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // Otherwise nginx buffers the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Streaming<F> {
    relay: Relay<F>,
    out: Out,
    /// The time of the last write.
    written: Instant,
    /// The delay after it before a comment.
    silence: Duration,
    /// Whether the client's input has ended.
    probing: bool,
}

impl<F: EventFormat> Streaming<F> {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            if let Some(chunk) = self.out.chunks.pop_front() {
                self.written = Instant::now();
                self.relay.open.sent(chunk.len());
                return Some((Ok(chunk), self));
            }
            match self.out.end {
                Some(End::Whole) => return None,
                Some(End::Cut) => {
                    tokio::time::sleep(LINGER).await;
                    self.out.end();
                    return Some((Err(io::Error::other("the stream ended early")), self));
                }
                None => {}
            }
            let Relay { client_buffer, format, waits, stop, input, .. } = &mut self.relay;
            tokio::select! {
                biased;
                followed = client_buffer.next() => match followed {
                    Some(followed) => {
                        if let Some(waits) = waits {
                            waits.heard(&followed);
                        }
                        format.write(followed, &mut self.out).await;
                    }
                    // A bug: the store ends a follower with a terminal event or with Lost. The client must not take
                    // this for the end of the job.
                    None => self.out.cut(),
                },
                () = stop.cancelled() => format.stop(&mut self.out),
                position = next_position(waits) => format.position(position, &mut self.out),
                () = input.ended(), if !self.probing => {
                    self.probing = true;
                    self.silence = FIRST_PROBE;
                    self.out.push(COMMENT);
                }
                () = tokio::time::sleep_until(self.written + self.silence) => {
                    if self.probing {
                        self.silence = PROBE.min(self.silence * 2);
                    }
                    self.out.push(COMMENT);
                }
            }
        }
    }
}
