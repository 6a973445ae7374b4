//! Extracts pictures from serialised events, without decoding the rest, and reads them, wherever they are kept.

use bytes::Bytes;
use glimpse_shared::{
    event::{EventKind, Frame, Image},
    results::Name,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{error::ApiError, state::Api};

/// The parts of a `preview` event that the routes send on, as JSON.
#[derive(Deserialize)]
struct PreviewParts<'a> {
    #[serde(borrow)]
    image: &'a RawValue,
}

/// The step of a preview, from 0, and the number of steps; `None` if the event is not a valid preview.
pub(crate) fn progress(json: &[u8]) -> Option<(u32, u32)> {
    #[derive(Deserialize)]
    struct Step {
        step: u32,
        steps: u32,
    }
    let Step { step, steps } = serde_json::from_slice(json).ok()?;
    Some((step, steps))
}

/// The parts of a `completed` event that the routes send on, as JSON.
#[derive(Deserialize)]
pub(crate) struct CompletedParts<'a> {
    /// The JSON of the final pictures.
    #[serde(borrow)]
    pub(crate) images: Vec<&'a RawValue>,
    /// The seed that gives these pictures again.
    pub(crate) seed: u64,
    /// The seed of each picture: a list, absent if the request gave none.
    #[serde(borrow, default)]
    pub(crate) seeds: Option<&'a RawValue>,
    /// The last step that was made, if the job was finished early.
    #[serde(default)]
    pub(crate) finished_at_step: Option<u32>,
    /// How long each part took, in seconds.
    #[serde(borrow, default)]
    pub(crate) timings: Option<&'a RawValue>,
    /// The parts of the request that had no effect: a list, absent if it would be empty.
    #[serde(borrow, default)]
    pub(crate) warnings: Option<&'a RawValue>,
}

/// The JSON of a preview's picture. It shares the event's memory. `None` if the event is not a valid preview.
pub(crate) fn of_preview(json: &Bytes) -> Option<Bytes> {
    let preview: PreviewParts<'_> = serde_json::from_slice(json).ok()?;
    Some(json.slice_ref(preview.image.get().as_bytes()))
}

/// The parts of a `completed` event; `None` if the event is not valid or has no picture.
pub(crate) fn of_completed(json: &[u8]) -> Option<CompletedParts<'_>> {
    serde_json::from_slice(json).ok().filter(|completed: &CompletedParts<'_>| !completed.images.is_empty())
}

/// A picture of an event: of a preview, which has one, or a final picture by its index.
pub(crate) fn shown(frame: &Frame, index: usize) -> Option<Image> {
    let json = frame.json();
    match frame.kind {
        EventKind::Preview | EventKind::Partial if index == 0 => {
            serde_json::from_slice(&of_preview(&json)?).ok()
        }
        EventKind::Completed => serde_json::from_str(of_completed(&json)?.images.get(index)?.get()).ok(),
        _ => None,
    }
}

/// The encoded picture, in the format that its `content_type` says. Its URL is one of an event, with an API's address
/// or without.
///
/// # Errors
/// If it has expired, if the place where it is kept does not answer or is not this process' `--results`, or if it is a
/// data URI that cannot be decoded.
pub(crate) async fn read(api: &Api, image: Image) -> Result<Bytes, ApiError> {
    if image.url.starts_with("data:") {
        let size = image.url.len();
        let decode = move || image.decode().map(Bytes::from).ok_or(ApiError::Defect);
        return api.answers.run_if_large(size, decode).await?;
    }
    let name = Name::of_url(&image.url).ok_or(ApiError::Defect)?;
    let results = api.config.results.as_ref().ok_or(ApiError::ResultsElsewhere)?;
    results.read(&name).await?.ok_or(ApiError::FileUnknown)
}

/// A picture whose file is at hand, in base64.
pub(crate) struct Encoded(Image);

impl Encoded {
    /// `None` if the picture's URL is not a data URI of ours.
    pub(crate) fn of(image: Image) -> Option<Self> {
        image.base64().is_some().then_some(Self(image))
    }

    /// Reads a picture, wherever it is kept.
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) async fn read(api: &Api, image: Image) -> Result<Self, ApiError> {
        if image.base64().is_some() {
            return Ok(Self(image));
        }
        let (content_type, width, height) = (image.content_type.clone(), image.width, image.height);
        let bytes = read(api, image).await?;
        let encode = move || Self(Image::new(&content_type, width, height, &bytes));
        api.answers.run_if_large(usize::MAX, encode).await
    }

    /// The file.
    pub(crate) fn base64(&self) -> &str {
        self.0.base64().unwrap_or_default()
    }

    /// `WIDTHxHEIGHT` in pixels.
    pub(crate) fn size(&self) -> String {
        size(&self.0)
    }
}

/// `WIDTHxHEIGHT` in pixels.
pub(crate) fn size(image: &Image) -> String {
    format!("{}x{}", image.width, image.height)
}

/// A job's final pictures, and what the job says beside them.
pub(crate) struct Finals {
    /// At least one.
    pub(crate) pictures: Vec<Image>,
    /// The seed that gives these pictures again.
    pub(crate) seed: u64,
    /// The seed of each picture, if the request gave them.
    pub(crate) seeds: Option<Box<RawValue>>,
    /// The parts of the request that had no effect.
    pub(crate) warnings: Option<Box<RawValue>>,
}

/// The final pictures of a `completed` event.
///
/// # Errors
/// When the event cannot be read.
pub(crate) async fn finals(api: &Api, json: Bytes) -> Result<Finals, ApiError> {
    let (length, read) = (json.len(), move || {
        let completed = of_completed(&json)?;
        let picture = |image: &&RawValue| serde_json::from_str(image.get()).ok();
        Some(Finals {
            pictures: completed.images.iter().map(picture).collect::<Option<_>>()?,
            seed: completed.seed,
            seeds: completed.seeds.map(ToOwned::to_owned),
            warnings: completed.warnings.map(ToOwned::to_owned),
        })
    });
    api.answers.run_if_large(length, read).await?.ok_or_else(ApiError::unreadable)
}
