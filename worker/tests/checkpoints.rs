//! Checkpoints that are too large for the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use glimpse_shared::store::Checkpoint;
use glimpse_worker::checkpoints::Checkpoints;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Counts the log lines of level WARN.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_job_whose_checkpoints_are_too_large_is_logged_once() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let checkpoints = Checkpoints::every(Duration::from_secs(5));
        checkpoints.put(vec![0; Checkpoint::MAX_BYTES]);
        assert_eq!(warnings.0.load(Ordering::SeqCst), 0);
        for _ in 0..3 {
            checkpoints.clone().put(vec![0; Checkpoint::MAX_BYTES + 1]);
        }
    });
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1);
}
