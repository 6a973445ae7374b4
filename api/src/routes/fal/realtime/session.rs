//! One realtime connection. Its inputs become ordinary jobs, one after the other. They are cancelled when it ends.

use std::{collections::VecDeque, time::Duration};

use axum::{
    Error,
    extract::{
        Path,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::HeaderMap,
};
use bytes::Bytes;
use futures::{
    FutureExt, SinkExt, StreamExt,
    future::BoxFuture,
    stream::{SplitSink, SplitStream},
};
use glimpse_shared::{request::Task, telemetry};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{
    input::{self, Format, Input, Waiting},
    output,
};
use crate::{
    accept::Entered, config::OnDisconnect, connection::RawConnection, error::ApiError, reader::Reader,
    routes::fal::enter::enter, traced::entered, waiting::end_of,
};

/// The interval of pings: proxies close silent connections.
const PING: Duration = Duration::from_secs(15);
/// A client that says nothing for this time, not even the answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// The time without an input and without a job after which the connection is closed.
const IDLE: Duration = Duration::from_secs(300);
/// The timeout for a message to be written.
const WRITE: Duration = Duration::from_secs(60);
/// The timeout for the client's answer to the end of the connection.
const CLOSE: Duration = Duration::from_secs(1);
/// How much of a message above the limit is read and discarded, in bytes, and for how long.
const DISCARDED: u64 = 64 << 20;
const DISCARDING: Duration = Duration::from_secs(5);
/// How many messages wait for the client in this process. No job starts while there are more.
const UNSENT: usize = 2;

/// What a connection needs of its request.
pub(super) struct Session {
    pub(super) reader: Reader,
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) task: Task,
    pub(super) headers: HeaderMap,
    /// How many inputs may wait.
    pub(super) buffering: usize,
    /// The connection below the WebSocket.
    pub(super) raw: RawConnection,
}

/// Why a connection ends.
enum End {
    /// The client is gone, or says so.
    Client,
    /// The client is told this.
    Told(u16, &'static str),
}

impl Session {
    /// Serves the connection to its end.
    pub(super) async fn run(self, socket: WebSocket) {
        let (sink, mut messages) = socket.split();
        let (outgoing, unsent) = mpsc::channel(UNSENT);
        let mut writer = AbortOnDropHandle::new(tokio::spawn(write(sink, unsent)));
        let end = self.serve(&mut messages, &outgoing).await;
        if let End::Told(close_code::SIZE, reason) = end {
            let frame = CloseFrame { code: close_code::SIZE, reason: reason.into() };
            let told = async {
                let _ = outgoing.send(Message::Close(Some(frame))).await;
                drop(outgoing);
                let _ = (&mut writer).await;
            };
            if timeout(CLOSE, told).await.is_ok() {
                // The client may send the rest of its message before it reads why.
                self.raw.end(DISCARDED, DISCARDING).await;
            }
            return;
        }
        let told = async {
            if let End::Told(code, reason) = end {
                let frame = CloseFrame { code, reason: reason.into() };
                let _ = outgoing.send(Message::Close(Some(frame))).await;
            }
            // Reading also sends the answer to a client's own close.
            while let Some(Ok(_)) = messages.next().await {}
        };
        if timeout(CLOSE, told).await.is_err() {
            tracing::debug!("a realtime client did not close its connection");
        }
    }

    async fn serve(&self, messages: &mut SplitStream<WebSocket>, outgoing: &mpsc::Sender<Message>) -> End {
        let mut waiting = Waiting::new(self.buffering);
        let mut unsent = VecDeque::new();
        let mut job: Option<BoxFuture<'_, Vec<Message>>> = None;
        let (mut heard, mut used) = (Instant::now(), Instant::now());
        let mut ping = tokio::time::interval_at(heard + PING, PING);
        let mut draining = false;
        loop {
            if job.is_none() && unsent.is_empty() {
                if draining {
                    return End::Told(close_code::RESTART, "This server is shutting down; connect again");
                }
                job = waiting.pop().map(|message| self.answer(message).boxed());
            }
            let is_idle = job.is_none() && unsent.is_empty() && waiting.is_empty();
            tokio::select! {
                () = self.reader.api().ending.cancelled() => {
                    return End::Told(close_code::RESTART, "This server is shutting down; connect again");
                }
                () = self.reader.api().draining.cancelled(), if !draining => {
                    draining = true;
                    waiting.clear();
                }
                message = messages.next() => {
                    heard = Instant::now();
                    let input = match message {
                        Some(Ok(message)) => message,
                        Some(Err(error)) if is_too_large(&error) => {
                            return End::Told(close_code::SIZE, "The message is too large");
                        }
                        Some(Err(_)) | None => return End::Client,
                    };
                    let (format, bytes) = match input {
                        Message::Binary(bytes) => (Format::Msgpack, bytes),
                        Message::Text(text) => (Format::Json, text.into()),
                        Message::Ping(_) | Message::Pong(_) => continue,
                        Message::Close(_) => return End::Client,
                    };
                    used = heard;
                    if draining {
                        continue;
                    }
                    match self.reader.api().bodies.kept(&bytes) {
                        Ok(bytes) => waiting.push(input::Message { format, bytes }),
                        // Told once, however many inputs come meanwhile.
                        Err(error) if unsent.len() < UNSENT => unsent.push_back(output::fault(&error, None)),
                        Err(_) => {}
                    }
                }
                said = async { Some(job.as_mut()?.await) }, if job.is_some() => {
                    job = None;
                    used = Instant::now();
                    unsent.extend(said.unwrap_or_default());
                }
                place = outgoing.reserve(), if !unsent.is_empty() => {
                    let (Ok(place), Some(message)) = (place, unsent.pop_front()) else { return End::Client };
                    place.send(message);
                }
                () = outgoing.closed() => return End::Client,
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        return End::Client;
                    }
                    // If there is no room, the client has something to read.
                    let _ = outgoing.try_send(Message::Ping(Bytes::new()));
                }
                () = tokio::time::sleep_until(used + IDLE), if is_idle => {
                    let _ = outgoing.send(output::idle()).await;
                    return End::Told(close_code::NORMAL, "No input came for a while");
                }
            }
        }
    }

    /// What an input gives: its pictures and how long they took, or an error.
    async fn answer(&self, message: input::Message) -> Vec<Message> {
        let (format, begun) = (message.format, Instant::now());
        let Input { body, request_id, sent, errors } = match message.parsed(self.reader.api()).await {
            Ok(input) => input,
            Err(error) => return vec![output::fault(&error, None)],
        };
        let made = match errors.is_empty() {
            true => self.pictures(format, body, request_id.clone()).await,
            false => Err(ApiError::Fields(errors)),
        };
        match made {
            Ok(pictures) => vec![pictures, output::timing(begun.elapsed())],
            Err(error) => vec![output::fault(&error.of_sent(&sent), request_id.as_ref())],
        }
    }

    /// Submits a job and waits for its end. Dropped before that, it cancels the job.
    async fn pictures(
        &self,
        format: Format,
        body: Bytes,
        request_id: Option<Value>,
    ) -> Result<Message, ApiError> {
        let (api, path) = (self.reader.api(), Ok(Path((self.owner.clone(), self.name.clone()))));
        let cancel = Some(OnDisconnect::Cancel);
        let mut headers = self.headers.clone();
        // Each input is a request of its own.
        let span = entered("realtime input", &mut headers);
        let entering = enter(&self.reader, path, self.task, &headers, body, cancel, Ok(None));
        let entering = entering.instrument(span.clone()).await;
        telemetry::end(&span);
        let Entered { mut waited, prompt, .. } = entering?;
        let mut events = self.reader.follow(waited.id(), None);
        let json = loop {
            let followed = events.next().await.ok_or(ApiError::Defect)?;
            if let Some(end) = end_of(&followed) {
                waited.ended();
                break end?;
            }
        };
        let size = json.len();
        let files = output::files(api, format, &json).await?;
        let written = move || output::pictures(files, &json, &prompt, request_id.as_ref());
        api.answers.run_if_large(size, written).await?
    }
}

/// Writes to the client, so that reading never waits for it.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut unsent: mpsc::Receiver<Message>) {
    while let Some(message) = unsent.recv().await {
        if !matches!(timeout(WRITE, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Whether a client has sent a message above the limit.
fn is_too_large(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<tungstenite::Error>());
    cause.is_some_and(|cause| matches!(cause, tungstenite::Error::Capacity(_)))
}
