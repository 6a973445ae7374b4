//! The status of a request in fal's queue, told as it changes.

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use glimpse_shared::{
    event::{Event, EventKind, Followed, Frame, ascii_json},
    id::{JobId, Micros},
};

use super::{
    address::{QueueAddress, RequestUrls},
    log::{Line, first_start},
    queue::{RequestPath, known, request},
    status::{Logs, RequestStatus},
};
use crate::{
    client_buffer::ClientBuffer,
    connection::ClientInput,
    edge::with_id,
    error::ApiError,
    picture,
    reader::Reader,
    sse::{EventFormat, Out, Relay, Waits, respond},
    state::{Api, ask},
    waiting::end_of,
};

/// `GET /queue/{owner}/{app}/requests/{id}/status/stream`. Each event has the log lines since the last one.
pub(super) async fn follow(
    State(api): State<Api>,
    reader: Reader,
    path: RequestPath,
    query: Result<Query<Logs>, QueryRejection>,
    Extension(input): Extension<ClientInput>,
    address: QueueAddress,
) -> Result<Response, ApiError> {
    let (app, id) = request(path)?;
    let stream = async {
        let state = known(&reader, &app, id).await?;
        let format = Statuses {
            api: api.clone(),
            id,
            urls: address.request(&app, id),
            logs: Logs::wanted(query).then(Vec::new),
            created_at: state.created_at,
            queued: false,
            started: false,
            position: None,
        };
        let relay = Relay {
            client_buffer: ClientBuffer::fill(api.store.follow(id, None)),
            format,
            input,
            waits: Some(Waits::new(&api, &state.app, id)),
            stop: api.ending.clone(),
            _place: api.stream()?,
            open: api.metrics.streams.open(),
        };
        Ok::<_, ApiError>(respond(relay, Out::default()))
    };
    Ok(with_id(stream.await.into_response(), id))
}

/// The format of such a stream.
struct Statuses {
    api: Api,
    id: JobId,
    urls: RequestUrls,
    /// The lines that are not sent yet; `None` if they were not asked for.
    logs: Option<Vec<Line>>,
    created_at: Micros,
    /// Whether the line of the submit was said.
    queued: bool,
    /// Whether a worker had the job before.
    started: bool,
    /// The position that the client knows.
    position: Option<u64>,
}

impl Statuses {
    fn say(&mut self, line: impl FnOnce() -> Line) {
        if let Some(logs) = &mut self.logs {
            logs.push(line());
        }
    }

    /// The line of the submit, if it was not said.
    fn say_queued(&mut self) {
        if !std::mem::replace(&mut self.queued, true) {
            let at = self.created_at;
            self.say(|| Line::queued(at));
        }
    }

    fn send(status: &RequestStatus, out: &mut Out) {
        out.push(format!("data: {}\n\n", ascii_json(status)));
    }

    fn in_progress(&mut self, out: &mut Out) {
        let logs = self.logs.as_mut().map(std::mem::take);
        Self::send(&RequestStatus::in_progress(self.id, self.urls.clone(), logs), out);
    }

    async fn event(&mut self, frame: &Frame, out: &mut Out) {
        let now = Micros::system();
        match frame.kind {
            EventKind::Queued if self.started => {
                self.say(|| Line::queued_again(now));
                self.in_progress(out);
            }
            EventKind::Queued => {
                self.say_queued();
                // The event may be old.
                let state = ask(self.api.store.status(self.id)).await.ok().flatten();
                let told = match frame.event() {
                    Some(Event::Queued { position }) => position,
                    _ => 0,
                };
                let position = state.and_then(|state| state.position).unwrap_or(told);
                self.position = Some(position);
                Self::send(&RequestStatus::in_queue(self.id, self.urls.clone(), position), out);
            }
            EventKind::Started => {
                self.say_queued();
                self.started = true;
                if let Some(Event::Started { attempt, worker }) = frame.event() {
                    self.say(|| Line::started(now, attempt, Some(&worker)));
                }
                self.in_progress(out);
            }
            EventKind::Preview if self.logs.is_some() => {
                if let Some((step, steps)) = picture::progress(&frame.json()) {
                    self.say(|| Line::step(now, step, steps));
                    self.in_progress(out);
                }
            }
            _ => {}
        }
    }

    async fn end(&mut self, failure: Option<ApiError>, out: &mut Out) {
        let state = ask(self.api.store.status(self.id)).await.ok().flatten();
        let state = state.filter(|state| state.status.is_terminal());
        let at = state.as_ref().and_then(|state| state.finished_at).unwrap_or_else(Micros::system);
        // The log of a job that has ended may have only its end, but the client gets the lines of a status.
        self.say_queued();
        if !self.started
            && let Some(line) = state.as_ref().and_then(first_start)
        {
            self.say(|| line);
        }
        self.say(|| Line::ended(at, failure.as_ref()));
        let (urls, logs) = (self.urls.clone(), self.logs.take());
        Self::send(&RequestStatus::completed(self.id, urls, state.as_ref(), failure.as_ref(), logs), out);
        out.end();
    }
}

impl EventFormat for Statuses {
    async fn write(&mut self, followed: Followed, out: &mut Out) {
        match (end_of(&followed), followed) {
            (Some(end), _) => self.end(end.err(), out).await,
            (None, Followed::Frame(frame)) => self.event(&frame, out).await,
            (None, _) => {}
        }
    }

    fn position(&mut self, position: u64, out: &mut Out) {
        // fal's states do not go back.
        if !self.started && self.position.replace(position) != Some(position) {
            Self::send(&RequestStatus::in_queue(self.id, self.urls.clone(), position), out);
        }
    }

    fn stop(&mut self, out: &mut Out) {
        // fal's clients take the end of the body for the end of the request.
        out.cut();
    }
}
