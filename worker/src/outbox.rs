//! Previews on their way from the pipeline to the encoder. The pipeline never waits: when the encoder is slow, the
//! oldest preview is dropped.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::pipeline::Rgb;

/// How many previews may wait: enough for a burst, so that a short delay of the encoder drops none.
const KEPT: usize = 4;

/// A preview that is not encoded yet.
pub struct Shown {
    /// 0-based index of the step just done.
    pub step: u32,
    /// How many steps there are.
    pub steps: u32,
    /// The first picture of the job.
    pub picture: Rgb,
}

/// The queue between the pipeline and the encoder.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Shown>>,
    filled: Notify,
}

impl Outbox {
    /// Adds a preview; drops the oldest one if the queue is full.
    pub fn put(&self, shown: Shown) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == KEPT {
            waiting.pop_front();
        }
        waiting.push_back(shown);
        self.filled.notify_one();
    }

    /// The oldest waiting preview, if any.
    pub fn try_take(&self) -> Option<Shown> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The oldest waiting preview, as soon as there is one.
    pub async fn take(&self) -> Shown {
        loop {
            if let Some(shown) = self.try_take() {
                return shown;
            }
            self.filled.notified().await;
        }
    }
}
