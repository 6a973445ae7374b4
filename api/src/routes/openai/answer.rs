//! Pictures as OpenAI's clients read them: as a whole answer, and as the events of a stream.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
use glimpse_shared::{
    event::{Event, EventKind, Frame, Image, ascii_json},
    request::{Endpoint, OutputFormat},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    error::ApiError,
    json::json_response,
    picture::{self, Encoded, Finals},
    sse::Out,
    state::Api,
    wire::{PictureStream, error_event},
};

/// The background of every picture: they have no alpha channel.
const BACKGROUND: &str = "opaque";

/// How one request is answered.
#[derive(Clone)]
pub(super) struct Answer {
    /// The route of the request.
    pub(super) endpoint: Endpoint,
    /// Echoed; `None` for `auto`.
    pub(super) quality: Option<&'static str>,
    /// The encoding of the final pictures.
    pub(super) output_format: OutputFormat,
    /// The address of the job's first picture, for one inside of its event; `None` for pictures in base64.
    pub(super) pictures_at: Option<String>,
}

/// What every answer and event says about its pictures. There is no `usage`: nothing here counts tokens as OpenAI does.
#[derive(Serialize)]
struct About<'a> {
    size: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
    background: &'static str,
    output_format: &'static str,
}

impl Answer {
    fn about<'a>(&self, size: &'a str) -> About<'a> {
        let output_format = match self.output_format {
            OutputFormat::Jpeg => "jpeg",
            OutputFormat::Png => "png",
            OutputFormat::Webp => "webp",
        };
        About { size, quality: self.quality, background: BACKGROUND, output_format }
    }

    /// The response with all pictures of a `completed` event.
    pub(super) async fn whole(&self, api: &Api, json: Bytes) -> Result<Response, ApiError> {
        #[derive(Serialize)]
        struct Whole<'a> {
            created: u64,
            data: Vec<Picture<'a>>,
            #[serde(flatten)]
            about: About<'a>,
            seed: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            warnings: Option<&'a RawValue>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Picture<'a> {
            B64Json(&'a str),
            Url(String),
        }

        fn respond(
            answer: &Answer,
            data: Vec<Picture<'_>>,
            size: &str,
            seed: u64,
            warnings: Option<&RawValue>,
        ) -> Response {
            let whole = Whole { created: now(), data, about: answer.about(size), seed, warnings };
            json_response(StatusCode::OK, &whole)
        }

        if let Some(first) = &self.pictures_at {
            let Finals { pictures, seed, warnings } = picture::finals(api, json).await?;
            let size = pictures.first().map(picture::size).unwrap_or_default();
            // One that is kept outside of the event has its own URL, which works longer than that of its job.
            let url = |(index, image): (usize, Image)| match (image.base64(), index) {
                (None, _) => Picture::Url(image.url),
                (Some(_), 0) => Picture::Url(first.clone()),
                (Some(_), index) => Picture::Url(format!("{first}?index={index}")),
            };
            let data = pictures.into_iter().enumerate().map(url).collect();
            return Ok(respond(self, data, &size, seed, warnings.as_deref()));
        }
        let answer = self.clone();
        let Finals { pictures, seed, warnings } = picture::final_files(api, json).await?;
        let length = pictures.iter().map(|picture| picture.base64().len()).sum();
        let response = move || {
            let data = pictures.iter().map(|picture| Picture::B64Json(picture.base64())).collect();
            let size = pictures.first().map(Encoded::size).unwrap_or_default();
            respond(&answer, data, &size, seed, warnings.as_deref())
        };
        api.answers.run_if_large(length, response).await
    }

    /// An event of a stream. Its name is its type.
    fn event(&self, what: What, picture: &Encoded) -> String {
        #[derive(Serialize)]
        struct PictureEvent<'a> {
            r#type: &'a str,
            b64_json: &'a str,
            created_at: u64,
            #[serde(flatten)]
            about: About<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            partial_image_index: Option<u32>,
        }
        let of = match self.endpoint {
            Endpoint::Generation => "image_generation",
            Endpoint::Edit => "image_edit",
        };
        let (name, partial_image_index) = match what {
            What::Partial(index) => ("partial_image", Some(index)),
            What::Completed => ("completed", None),
        };
        let (name, size) = (format!("{of}.{name}"), picture.size());
        let event = PictureEvent {
            r#type: &name,
            b64_json: picture.base64(),
            created_at: now(),
            // Unlike the whole answer, an event always has a quality.
            about: About { quality: self.quality.or(Some("auto")), ..self.about(&size) },
            partial_image_index,
        };
        format!("event: {name}\ndata: {}\n\n", ascii_json(&event))
    }
}

/// What an event of a stream shows.
enum What {
    /// The partial picture of this index.
    Partial(u32),
    /// A final picture.
    Completed,
}

impl PictureStream for Answer {
    fn shows(&self, kind: EventKind) -> bool {
        kind == EventKind::Partial
    }

    fn preview(&self, frame: &Frame, out: &mut Out) {
        let Some(Event::Partial { index, image, .. }) = frame.event() else { return };
        if let Some(picture) = Encoded::of(image) {
            out.push(self.event(What::Partial(index), &picture));
        }
    }

    /// One event for each picture.
    async fn last(&self, api: &Api, json: Bytes) -> Result<Bytes, ApiError> {
        let answer = self.clone();
        let finals = picture::final_files(api, json).await?;
        let length = finals.pictures.iter().map(|picture| picture.base64().len()).sum();
        let events = move || {
            let events = finals.pictures.iter().map(|picture| answer.event(What::Completed, picture));
            events.collect::<String>().into()
        };
        api.answers.run_if_large(length, events).await
    }

    fn cut(&self, error: &ApiError) -> String {
        error_event(error)
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
