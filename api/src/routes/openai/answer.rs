//! Pictures as OpenAI's clients read them: as a whole answer, and as the events of a stream.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
use futures::future::try_join_all;
use glimpse_shared::{
    event::{Event, EventKind, Frame, Image, Warning, ascii_json},
    request::{Endpoint, OutputFormat},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

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
    /// The address of the job's first picture; `None` for pictures in base64.
    pub(super) pictures_at: Option<String>,
}

/// What every answer and event says about its pictures. There is no `usage`: nothing here counts tokens as OpenAI does.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiAbout)]
struct About<'a> {
    /// `WIDTHxHEIGHT`.
    size: &'a str,
    /// As in the request, if OpenAI has such a quality. It has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    quality: Option<&'static str>,
    background: &'static str,
    output_format: &'static str,
}

/// The answer with all pictures.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiPictures)]
pub(crate) struct Whole<'a> {
    /// Seconds since the Unix epoch.
    created: u64,
    #[schema(max_items = 4)]
    data: Vec<Picture<'a>>,
    #[serde(flatten)]
    about: About<'a>,
    /// The seed that gives these pictures again.
    #[schema(maximum = 9007199254740992i64)]
    seed: u64,
    /// The seed of each picture, if the request gave them. The first is `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u64>>, nullable = false)]
    seeds: Option<&'a RawValue>,
    /// The parts of the request that had no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Warning>>, nullable = false)]
    warnings: Option<&'a RawValue>,
}

/// A picture: its file in base64, or its address.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiPicture)]
#[serde(rename_all = "snake_case")]
enum Picture<'a> {
    B64Json(&'a str),
    Url(&'a str),
}

/// The `data` of an event of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiPictureEvent)]
pub(crate) struct PictureEvent<'a> {
    /// The name of the event: `image_generation` or `image_edit`, then `.partial_image` or `.completed`.
    r#type: &'a str,
    b64_json: &'a str,
    /// Seconds since the Unix epoch.
    created_at: u64,
    #[serde(flatten)]
    about: About<'a>,
    /// The index of a partial picture, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, maximum = 2)]
    partial_image_index: Option<u32>,
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
        let answer = self.clone();
        let length = json.len();
        let Finals { pictures, seed, seeds, warnings } = picture::finals(api, json).await?;
        let size = pictures.first().map(picture::size).unwrap_or_default();
        let told = match &self.pictures_at {
            Some(first) => Told::Addresses(addresses(first, pictures)),
            None => Told::Files(read(api, pictures).await?),
        };
        let response = move || {
            let data = match &told {
                Told::Files(files) => files.iter().map(|file| Picture::B64Json(file.base64())).collect(),
                Told::Addresses(all) => all.iter().map(|address| Picture::Url(address)).collect(),
            };
            let (created, about) = (now(), answer.about(&size));
            let whole =
                Whole { created, data, about, seed, seeds: seeds.as_deref(), warnings: warnings.as_deref() };
            json_response(StatusCode::OK, &whole)
        };
        api.answers.run_if_large(length, response).await
    }

    /// An event of a stream. Its name is its type.
    fn event(&self, what: What, picture: &Encoded) -> String {
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
    async fn last(&self, api: &Api, json: Bytes, _: &str) -> Result<Bytes, ApiError> {
        let answer = self.clone();
        let (length, finals) = (json.len(), picture::finals(api, json).await?);
        let files = read(api, finals.pictures).await?;
        let events = move || {
            let events = files.iter().map(|picture| answer.event(What::Completed, picture));
            events.collect::<String>().into()
        };
        api.answers.run_if_large(length, events).await
    }

    fn cut(&self, error: &ApiError) -> String {
        error_event(error)
    }
}

/// How a whole answer tells its pictures.
enum Told {
    Files(Vec<Encoded>),
    Addresses(Vec<String>),
}

/// Reads all pictures.
async fn read(api: &Api, pictures: Vec<Image>) -> Result<Vec<Encoded>, ApiError> {
    try_join_all(pictures.into_iter().map(|picture| Encoded::read(api, picture))).await
}

/// The address of each picture: its own, if it is kept outside of the event, otherwise at its job.
fn addresses(first: &str, pictures: Vec<Image>) -> Vec<String> {
    let address = |(index, picture): (usize, Image)| match (picture.base64(), index) {
        (None, _) => picture.url,
        (Some(_), 0) => first.to_owned(),
        (Some(_), index) => format!("{first}?index={index}"),
    };
    pictures.into_iter().enumerate().map(address).collect()
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
