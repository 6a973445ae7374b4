//! The queue of previews between the pipeline and the encoder. The pipeline never waits: if the queue is full, the
//! oldest preview is dropped.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

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
    waiting: Mutex<VecDeque<RawPreview>>,
    filled: Notify,
}

impl Outbox {
    /// Adds a preview; drops the oldest one if the queue is full.
    pub fn put(&self, preview: RawPreview) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == CAPACITY {
            waiting.pop_front();
        }
        waiting.push_back(preview);
        self.filled.notify_one();
    }

    /// The oldest waiting preview, if any.
    pub fn try_take(&self) -> Option<RawPreview> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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
}
