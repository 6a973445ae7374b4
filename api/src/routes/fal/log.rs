//! The log lines of a request: what its job's state and events say.

use glimpse_shared::{
    id::{Micros, WorkerId},
    job::JobState,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// A log line as fal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LogLine)]
pub(super) struct Line {
    message: String,
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(examples("INFO", "WARN", "ERROR"))]
    level: &'static str,
    source: &'static str,
}

impl Line {
    fn new(at: Micros, level: &'static str, message: String) -> Self {
        Self { message, timestamp: at.rfc3339(), level, source: "USER" }
    }

    /// The request is in the queue.
    pub(super) fn queued(at: Micros) -> Self {
        Self::new(at, "INFO", "Queued".to_owned())
    }

    /// The request has lost its worker.
    pub(super) fn queued_again(at: Micros) -> Self {
        Self::new(at, "WARN", "Queued again: its worker was lost or was shut down".to_owned())
    }

    /// An attempt has started.
    pub(super) fn started(at: Micros, attempt: u32, worker: Option<&WorkerId>) -> Self {
        let on = worker.map(|worker| format!(" on worker {}", worker.as_str())).unwrap_or_default();
        let message = match attempt {
            1 => format!("Started{on}"),
            attempt => format!("Started again{on}, attempt {attempt}"),
        };
        Self::new(at, "INFO", message)
    }

    /// The step with this 0-based index is done.
    pub(super) fn step(at: Micros, step: u32, steps: u32) -> Self {
        Self::new(at, "INFO", format!("Step {} of {steps}", step.saturating_add(1)))
    }

    /// The request has ended, with pictures or without.
    pub(super) fn ended(at: Micros, failure: Option<&ApiError>) -> Self {
        match failure {
            None => Self::new(at, "INFO", "Completed".to_owned()),
            Some(error @ ApiError::Cancelled) => Self::new(at, "WARN", error.message()),
            Some(error) => Self::new(at, "ERROR", error.message()),
        }
    }
}

/// The lines that a job's state shows at the time `now`. The state keeps only the newest step, and the time of the
/// first start.
pub(super) fn lines(state: &JobState, failure: Option<&ApiError>, now: Micros) -> Vec<Line> {
    let mut lines = vec![Line::queued(state.created_at)];
    lines.extend(first_start(state));
    if let Some(at) = state.finished_at.filter(|_| state.status.is_terminal()) {
        lines.push(Line::ended(at, failure));
        return lines;
    }
    if state.attempt > 1 {
        lines.push(Line::started(now, state.attempt, state.worker.as_ref()));
    }
    if let Some(step) = state.step {
        lines.push(Line::step(now, step, state.steps));
    }
    lines
}

/// The line of the first start, if there was one.
pub(super) fn first_start(state: &JobState) -> Option<Line> {
    let worker = state.worker.as_ref().filter(|_| state.attempt == 1);
    state.started_at.map(|at| Line::started(at, 1, worker))
}
