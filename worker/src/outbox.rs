//! The queue of previews between the pipeline and the encoder. The pipeline never waits: if the queue is full, the
//! oldest preview is dropped. Partial pictures are never dropped; a job has at most three.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use glimpse_shared::request::Partials;
use tokio::sync::Notify;

use crate::pipeline::Rgb;

/// How many previews may wait: enough that a short delay of the encoder drops none.
const CAPACITY: usize = 4;

/// A preview that is not encoded yet.
pub struct RawPreview {
    /// 0-based index of the step just done.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// The first picture of the job.
    pub picture: Rgb,
}

/// The queue between the pipeline and the encoder.
#[derive(Default)]
pub struct Outbox {
    partials: Partials,
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<RawPreview>,
    /// How many partial pictures were added and are not published yet.
    owed: usize,
}

impl Outbox {
    /// The queue of a job with these partial pictures.
    pub fn new(partials: Partials) -> Self {
        Self { partials, ..Self::default() }
    }

    /// The index of a preview among the job's partial pictures, if it is one.
    pub fn index(&self, preview: &RawPreview) -> Option<u32> {
        self.partials.index_after(preview.step, preview.steps)
    }

    /// Adds a preview. Drops the oldest one if the queue is full, but never a partial picture.
    pub fn put(&self, preview: RawPreview) {
        let mut queue = self.queue();
        if self.index(&preview).is_some() {
            queue.owed += 1;
        }
        let droppable = |waiting: &RawPreview| self.index(waiting).is_none();
        if queue.waiting.iter().filter(|waiting| droppable(waiting)).count() == CAPACITY
            && let Some(oldest) = queue.waiting.iter().position(droppable)
        {
            queue.waiting.remove(oldest);
        }
        queue.waiting.push_back(preview);
        drop(queue);
        self.filled.notify_one();
    }

    /// The oldest waiting preview, if any.
    pub fn try_take(&self) -> Option<RawPreview> {
        self.queue().waiting.pop_front()
    }

    /// Waits for a preview and takes the oldest one.
    pub async fn take(&self) -> RawPreview {
        loop {
            if let Some(preview) = self.try_take() {
                return preview;
            }
            self.filled.notified().await;
        }
    }

    /// Records that a partial picture was published.
    pub fn published_partial(&self) {
        let mut queue = self.queue();
        queue.owed = queue.owed.saturating_sub(1);
    }

    /// Whether a partial picture is not published yet. A checkpoint must not be made now: the next attempt would resume
    /// after the step of that picture, and never make it.
    pub fn owes_partial(&self) -> bool {
        self.queue().owed > 0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use glimpse_shared::request::{Dialect, Endpoint, ImageSpec, Names, Offer, Unknown};
    use serde_json::json;

    use super::*;

    fn outbox(partial_images: u32) -> Outbox {
        let offer = Offer {
            native_width: 64,
            native_height: 64,
            max_pixels: 1 << 20,
            schedulers: Default::default(),
            lora_sources: Default::default(),
            controlnet_hub: false,
        };
        let defaults = glimpse_shared::request::Defaults {
            unknown: Unknown::Ignored,
            preview_source: glimpse_shared::request::PreviewSource::Latents,
        };
        let body = json!({ "prompt": "a heart", "stream": true, "partial_images": partial_images });
        let dialect = Dialect { defaults, names: Names::OpenAi(Endpoint::Generation) };
        let spec = ImageSpec::check(body.as_object().unwrap().clone(), &offer, dialect).unwrap();
        Outbox::new(spec.partials())
    }

    fn preview(step: u32) -> RawPreview {
        RawPreview { step, steps: 20, picture: Rgb { width: 1, height: 1, data: vec![0; 3] } }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_previews_but_no_partial_picture() {
        let outbox = outbox(2);
        (0..20).for_each(|step| outbox.put(preview(step)));
        let steps: Vec<_> = std::iter::from_fn(|| outbox.try_take()).map(|preview| preview.step).collect();
        assert_eq!(steps, [6, 13, 16, 17, 18, 19]);
    }

    #[test]
    fn a_partial_picture_is_owed_until_it_is_published() {
        let outbox = outbox(1);
        outbox.put(preview(8));
        assert!(!outbox.owes_partial());
        outbox.put(preview(9));
        assert!(outbox.owes_partial());
        while let Some(preview) = outbox.try_take() {
            assert!(outbox.owes_partial(), "taken is not published: step {}", preview.step);
        }
        outbox.published_partial();
        assert!(!outbox.owes_partial());
    }
}
