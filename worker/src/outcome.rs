//! How an attempt ended, as its span says it.

use glimpse_shared::{
    job::{Release, Status},
    store::{Finish, Released},
    telemetry,
};

const CANCELLED: (&str, bool) = ("cancelled", false);
const LOST: (&str, bool) = ("lost", true);

/// It ended its job with this status.
pub(crate) fn of_finish(finish: Finish, status: Status) {
    let (word, is_fault) = match finish {
        Finish::Finished => (status.as_str(), status == Status::Failed),
        Finish::Cancelled => CANCELLED,
        Finish::Lost => LOST,
    };
    telemetry::outcome(word, is_fault);
}

/// It returned its job to the queue.
pub(crate) fn of_release(released: Released, release: &Release) {
    let (word, is_fault) = match (released, release) {
        (Released::Released, Release::Drain) => ("given_back", false),
        (Released::Released, Release::Fault(_)) => ("fault", true),
        (Released::Cancelled, _) => CANCELLED,
        (Released::Lost, _) => LOST,
    };
    telemetry::outcome(word, is_fault);
}

/// It was stopped, because its job was cancelled.
pub(crate) fn cancelled() {
    telemetry::outcome(CANCELLED.0, CANCELLED.1);
}

/// It was stopped, because it no longer held its job.
pub(crate) fn lost() {
    telemetry::outcome(LOST.0, LOST.1);
}
