//! Extracts pictures from serialised events, without decoding the rest.

use bytes::Bytes;
use glimpse_shared::event::{EventKind, Frame, Image};
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

/// The file of a picture, in base64.
pub(crate) struct Encoded(Image);

impl Encoded {
    /// `None` if the picture's URL is not a data URI of ours.
    pub(crate) fn of(image: Image) -> Option<Self> {
        image.base64().is_some().then_some(Self(image))
    }

    /// The file.
    pub(crate) fn base64(&self) -> &str {
        self.0.base64().unwrap_or_default()
    }

    /// `WIDTHxHEIGHT` in pixels.
    pub(crate) fn size(&self) -> String {
        format!("{}x{}", self.0.width, self.0.height)
    }
}

/// The files of a job's final pictures, and what the job says beside them.
pub(crate) struct Finals {
    /// At least one.
    pub(crate) pictures: Vec<Encoded>,
    /// The seed that gives these pictures again.
    pub(crate) seed: u64,
    /// The parts of the request that had no effect.
    pub(crate) warnings: Option<Box<RawValue>>,
}

/// Reads the final pictures of a `completed` event.
///
/// # Errors
/// When the event cannot be read.
pub(crate) async fn finals(api: &Api, json: Bytes) -> Result<Finals, ApiError> {
    let (length, read) = (json.len(), move || {
        let completed = of_completed(&json)?;
        let file = |image: &&RawValue| Encoded::of(serde_json::from_str(image.get()).ok()?);
        Some(Finals {
            pictures: completed.images.iter().map(file).collect::<Option<_>>()?,
            seed: completed.seed,
            warnings: completed.warnings.map(ToOwned::to_owned),
        })
    });
    api.answers.run_if_large(length, read).await?.ok_or_else(ApiError::unreadable)
}
