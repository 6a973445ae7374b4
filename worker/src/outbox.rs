//! Where the pipeline leaves its previews. It never waits: when encoding falls behind, the oldest goes.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::pipeline::Rgb;

/// Previews that may wait: a burst's worth, so that a short delay of the encoder drops none.
const KEPT: usize = 4;

/// What a preview is made of.
pub struct Shown {
    /// 0-based index of the step just done.
    pub step: u32,
    /// How many steps there are.
    pub steps: u32,
    /// The first picture of the job.
    pub picture: Rgb,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Shown>>,
    filled: Notify,
}

impl Outbox {
    /// Leaves a preview.
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
