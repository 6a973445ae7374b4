//! `GET /v1/jobs/{id}/events`: a job's events as they happen, resumable.

use axum::{
    Extension,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glimpse_shared::{
    event::{Event, EventKind, FailureCode, Followed, Frame, ascii_json},
    id::Seq,
    request::FieldError,
};
use serde::Deserialize;

use super::jobs::{job_id, known};
use crate::{
    client_buffer::ClientBuffer,
    connection::ClientInput,
    error::ApiError,
    intake::read_query,
    reader::Reader,
    sse::{EventFormat, Out, Relay, Waits, respond},
    state::Api,
};

/// The delay before a client reconnects, in milliseconds.
const RETRY: u64 = 1000;
/// The maximum of the random extra delay when a process shuts down, in milliseconds: clients do not all reconnect at
/// once.
const SPREAD: u64 = 4000;

/// The query of the route.
#[derive(Deserialize)]
pub(crate) struct After {
    after: Option<String>,
}

/// Follows a job. The cursor is `Last-Event-ID` or `?after=`. With both, `Last-Event-ID` is used, because it is newer.
pub(crate) async fn follow(
    State(api): State<Api>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<After>, QueryRejection>,
    Extension(input): Extension<ClientInput>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = job_id(path)?;
    let cursor = cursor(&headers, read_query(query, "after")?.after)?;
    let state = known(&reader, id).await?;
    if state.status.is_terminal() && cursor == Some(state.seq) {
        // EventSource reconnects after every end of a body; the status 204 stops it.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let relay = Relay {
        client_buffer: ClientBuffer::fill(reader.follow(id, cursor)),
        format: Native::new(cursor),
        input,
        waits: Some(Waits::new(&api, &state.app, id)),
        stop: api.draining.clone(),
        _place: api.stream()?,
        open: api.metrics.streams.open(),
    };
    let mut out = Out::default();
    out.push(format!("retry: {RETRY}\n\n"));
    Ok(respond(relay, out))
}

fn cursor(headers: &HeaderMap, after: Option<String>) -> Result<Option<Seq>, ApiError> {
    let error = |text: &str| FieldError::query("after", "int_parsing", SEQ_RULE, text);
    let after = after.map(|text| text.parse().map(Seq).map_err(|_| ApiError::field(error(&text))));
    let after = after.transpose()?;
    if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let error = || FieldError::header("last-event-id", "int_parsing", SEQ_RULE, &text);
        return text.trim().parse().map(|seq| Some(Seq(seq))).map_err(|_| ApiError::field(error()));
    }
    Ok(after)
}

const SEQ_RULE: &str = "Input should be the id of an event, a whole number";

/// The format of our own routes: an event's JSON, with its number and its kind.
struct Native {
    /// The newest event that the client has.
    cursor: Seq,
    /// Whether the next event needs a gap comment before it.
    gap_notice: GapNotice,
    /// The position that the client knows.
    position: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GapNotice {
    /// Nothing was sent and the client has no cursor. A terminal event is then not a gap: the log of an ended job holds
    /// nothing else.
    Fresh,
    /// A gap was announced: the next event may have any number.
    Announced,
    /// The next event must have the next number.
    No,
}

impl Native {
    fn new(cursor: Option<Seq>) -> Self {
        let gap_notice = if cursor.is_none() { GapNotice::Fresh } else { GapNotice::No };
        Self { cursor: cursor.unwrap_or_default(), gap_notice, position: None }
    }

    fn event(&mut self, frame: &Frame, out: &mut Out) {
        let terminal = frame.kind.is_terminal();
        let expected = match self.gap_notice {
            GapNotice::Fresh => terminal || frame.seq == self.cursor.next(),
            GapNotice::Announced => true,
            GapNotice::No => frame.seq == self.cursor.next(),
        };
        if !expected {
            out.push(GAP);
        }
        out.push(format!("id: {}\nevent: {}\ndata: ", frame.seq, frame.kind.as_str()));
        out.push(frame.json());
        out.push(&b"\n\n"[..]);
        self.cursor = frame.seq;
        self.gap_notice = GapNotice::No;
        self.position = match frame.kind {
            EventKind::Queued => queue_position(frame),
            _ => None,
        };
        if terminal {
            out.end();
        }
    }
}

/// The position in a `queued` event.
fn queue_position(frame: &Frame) -> Option<u64> {
    match frame.event() {
        Some(Event::Queued { position }) => Some(position),
        _ => None,
    }
}

const GAP: Bytes = Bytes::from_static(b": gap\n\n");

impl EventFormat for Native {
    async fn write(&mut self, followed: Followed, out: &mut Out) {
        match followed {
            Followed::Frame(frame) => self.event(&frame, out),
            Followed::Gap => {
                out.push(GAP);
                self.gap_notice = GapNotice::Announced;
            }
            Followed::Lost => {
                let lost = Event::Failed {
                    code: FailureCode::JobLost,
                    message: "the store no longer knows the job".to_owned(),
                };
                self.gap_notice = GapNotice::Announced;
                self.event(&Frame::new(self.cursor.next(), &lost), out);
            }
        }
    }

    /// The event has no number: it is not in the log, and a client that resumes need not get it again.
    fn position(&mut self, position: u64, out: &mut Out) {
        if self.position.replace(position) == Some(position) {
            return;
        }
        let event = Event::Queued { position };
        out.push(format!("event: {}\ndata: {}\n\n", EventKind::Queued.as_str(), ascii_json(&event)));
    }

    fn stop(&mut self, out: &mut Out) {
        let retry = RETRY + rand::random_range(0..SPREAD);
        out.push(format!("retry: {retry}\n\n"));
        out.end();
    }
}
