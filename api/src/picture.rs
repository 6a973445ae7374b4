//! Extracts pictures from serialised events, without decoding the rest.

use bytes::Bytes;
use glimpse_shared::event::{EventKind, Frame, Image};
use serde::Deserialize;
use serde_json::value::RawValue;

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

/// The picture of an event: of a preview, or the first final picture.
pub(crate) fn shown(frame: &Frame) -> Option<Image> {
    let json = frame.json();
    match frame.kind {
        EventKind::Preview => serde_json::from_slice(&of_preview(&json)?).ok(),
        EventKind::Completed => serde_json::from_str(of_completed(&json)?.images.first()?.get()).ok(),
        _ => None,
    }
}
