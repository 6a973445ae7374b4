//! Clients that wait for their pictures on the connection of their request.

use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use glimpse_shared::event::{Event, EventKind, FailureCode, Followed, Frame};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    accept::Entered,
    client_buffer::ClientBuffer,
    connection::ClientInput,
    error::ApiError,
    picture, policy,
    reader::Reader,
    sse::{COMMENT, EventFormat, KEEP_ALIVE, Out, Relay, respond},
    state::Api,
    submit::Waited,
    wire::{Connected, PictureStream},
};

/// Waits for the end of a job, and answers with its pictures or with the reason why there are none.
pub(crate) async fn pictures(
    reader: &Reader,
    wire: &Connected,
    Entered { mut waited, prompt, .. }: Entered,
    input: &ClientInput,
) -> Result<Response, ApiError> {
    let json = completed(reader, &mut waited, input).await?;
    answer(reader.api(), wire, json, prompt).await
}

/// Waits for the end of a job: the JSON of its `completed` event.
///
/// # Errors
/// The reason why the job has no pictures, or why nothing waits for them any more.
pub(crate) async fn completed(
    reader: &Reader,
    waited: &mut Waited,
    input: &ClientInput,
) -> Result<Bytes, ApiError> {
    let api = reader.api();
    let mut events = reader.follow(waited.id(), None);
    loop {
        let followed = tokio::select! {
            biased;
            followed = events.next() => followed.ok_or(ApiError::Defect)?,
            // Nothing can be written before the response, so a client that only reads cannot be distinguished from one
            // that has disconnected.
            () = input.ended() => return Err(ApiError::InputEnded),
            () = api.ending.cancelled() => return Err(ApiError::Ending),
        };
        if let Some(end) = end_of(&followed) {
            waited.ended();
            return end;
        }
    }
}

/// The pictures of a `completed` event as a response.
///
/// # Errors
/// When the event cannot be read.
pub(crate) async fn answer(
    api: &Api,
    wire: &Connected,
    json: Bytes,
    prompt: String,
) -> Result<Response, ApiError> {
    let pictures = wire.pictures;
    let (size, answer) = (json.len(), move || {
        let completed = picture::of_completed(&json).ok_or(ApiError::Defect)?;
        Ok(pictures(&completed, &prompt))
    });
    api.answers.run_if_large(size, answer).await?
}

/// Sends the previews of a job, then its pictures.
pub(crate) async fn stream(
    reader: &Reader,
    pictures: impl PictureStream,
    Entered { mut waited, prompt, .. }: Entered,
    input: ClientInput,
    place: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let api = reader.api();
    let mut client_buffer = ClientBuffer::fill(reader.follow(waited.id(), None));
    // Before the first byte an error can have its own status. Many clients read only such errors.
    let first = tokio::select! {
        biased;
        first = first_shown(&mut client_buffer, &pictures) => Some(first?),
        () = input.ended() => None,
        () = tokio::time::sleep(KEEP_ALIVE) => None,
        () = api.ending.cancelled() => return Err(ApiError::Ending),
    };
    if let Some(Err(error)) = first.as_ref().and_then(end_of) {
        waited.ended();
        return Err(error);
    }
    let (mut format, mut out) = (Pictures { api: api.clone(), pictures, prompt, waited }, Out::default());
    match first {
        Some(first) => format.write(first, &mut out).await,
        None => out.push(COMMENT),
    }
    let open = api.metrics.streams.open();
    let relay =
        Relay { client_buffer, format, input, waits: None, stop: api.ending.clone(), _place: place, open };
    Ok(respond(relay, out))
}

/// The first event that such a stream sends.
async fn first_shown(
    client_buffer: &mut ClientBuffer,
    pictures: &impl PictureStream,
) -> Result<Followed, ApiError> {
    loop {
        let followed = client_buffer.next().await.ok_or(ApiError::Defect)?;
        let shown = match &followed {
            Followed::Frame(frame) => pictures.shows(frame.kind) || frame.kind.is_terminal(),
            Followed::Gap => false,
            Followed::Lost => true,
        };
        if shown {
            return Ok(followed);
        }
    }
}

/// The end of the job, if it has ended: the JSON of its `completed` event, or why it has no pictures.
pub(crate) fn end_of(followed: &Followed) -> Option<Result<Bytes, ApiError>> {
    match followed {
        Followed::Frame(frame) if frame.kind.is_terminal() => Some(ended(frame)),
        Followed::Frame(_) | Followed::Gap => None,
        Followed::Lost => Some(Err(ApiError::lost())),
    }
}

/// What a terminal event says: the JSON of a `completed` event, or why the job has no pictures.
pub(crate) fn ended(frame: &Frame) -> Result<Bytes, ApiError> {
    match frame.kind {
        EventKind::Completed => Ok(frame.json()),
        EventKind::Cancelled => Err(ApiError::Cancelled),
        _ => match frame.event() {
            Some(Event::Failed { code: FailureCode::ContentPolicyViolation, message }) => {
                Err(policy::refused_picture(message))
            }
            Some(Event::Failed { code, message }) => Err(ApiError::Failed { code, message }),
            _ => Err(ApiError::unreadable()),
        },
    }
}

/// The format of a stream of pictures. It is as the wire says.
struct Pictures<P> {
    api: Api,
    pictures: P,
    prompt: String,
    waited: Waited,
}

impl<P: PictureStream> Pictures<P> {
    fn cut(&self, error: &ApiError, out: &mut Out) {
        out.push(self.pictures.cut(error));
        out.cut();
    }
}

impl<P: PictureStream> EventFormat for Pictures<P> {
    async fn write(&mut self, followed: Followed, out: &mut Out) {
        let Some(end) = end_of(&followed) else {
            if let Followed::Frame(frame) = followed
                && self.pictures.shows(frame.kind)
            {
                self.pictures.preview(&frame, out);
            }
            return;
        };
        self.waited.ended();
        let json = match end {
            Ok(json) => json,
            Err(error) => return self.cut(&error, out),
        };
        match self.pictures.last(&self.api, json, &self.prompt).await {
            Ok(last) => {
                out.push(last);
                out.end();
            }
            Err(_) => self.cut(&ApiError::unreadable(), out),
        }
    }

    fn stop(&mut self, out: &mut Out) {
        self.cut(&ApiError::Ending, out);
    }
}
