//! Finds pictures inside serialised events without decoding the rest.

use bytes::Bytes;
use glimpse_shared::event::{EventKind, Frame, Image};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The parts of a `preview` that wires repeat, as they are serialised.
#[derive(Deserialize)]
struct Preview<'a> {
    #[serde(borrow)]
    image: &'a RawValue,
}

/// The parts of a `completed` that wires repeat, as they are serialised.
#[derive(Deserialize)]
pub(crate) struct Completed<'a> {
    /// The JSON of the final pictures.
    #[serde(borrow)]
    pub(crate) images: Vec<&'a RawValue>,
    /// The seed that gives these pictures again.
    pub(crate) seed: u64,
    /// The parts of the request that had no effect: a list, absent if it would be empty.
    #[serde(borrow, default)]
    pub(crate) warnings: Option<&'a RawValue>,
}

/// The JSON of a preview's picture, in the event's own memory; `None` for data that is not one of our previews.
pub(crate) fn of_preview(json: &Bytes) -> Option<Bytes> {
    let preview: Preview<'_> = serde_json::from_slice(json).ok()?;
    Some(json.slice_ref(preview.image.get().as_bytes()))
}

/// The contents of a `completed` event; `None` for data that is not one of ours, or has no picture.
pub(crate) fn of_completed(json: &[u8]) -> Option<Completed<'_>> {
    serde_json::from_slice(json).ok().filter(|completed: &Completed<'_>| !completed.images.is_empty())
}

/// The newest picture that an event shows: a preview's, or the first final one.
pub(crate) fn shown(frame: &Frame) -> Option<Image> {
    let json = frame.json();
    match frame.kind {
        EventKind::Preview => serde_json::from_slice(&of_preview(&json)?).ok(),
        EventKind::Completed => serde_json::from_str(of_completed(&json)?.images.first()?.get()).ok(),
        _ => None,
    }
}
