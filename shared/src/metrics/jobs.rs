//! How many jobs ended, and how.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::family::Always;
use crate::{id::App, job::Status};

/// The jobs that a command of this process ended. A job counts in one process: that of the command that wrote its end.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Family<Ended, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    app: String,
    /// The status' word.
    outcome: &'static str,
}

/// The statuses of ended jobs.
const OUTCOMES: [Status; 3] = [Status::Completed, Status::Failed, Status::Cancelled];

impl Jobs {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "glimpse_jobs",
            "Jobs that a command of this process ended, by the status they ended with",
            Always(self.0.clone()),
        );
    }

    /// Shows every outcome of an app, those that did not happen yet at zero.
    pub fn know(&self, app: &App) {
        for status in OUTCOMES {
            drop(self.0.get_or_create(&ended(app, status)));
        }
    }

    /// A job of `app` ended with this status. A status that is not an end does not count.
    pub fn ended(&self, app: &App, status: Status) {
        if status.is_terminal() {
            self.know(app);
            self.0.get_or_create(&ended(app, status)).inc();
        }
    }
}

fn ended(app: &App, status: Status) -> Ended {
    Ended { app: app.as_str().to_owned(), outcome: status.as_str() }
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, Role};
    use super::*;

    #[test]
    fn an_app_is_shown_with_all_its_outcomes() {
        let metrics = Metrics::new(Role::Api);
        let app: App = "glimpse/demo".parse().unwrap();
        metrics.jobs.ended(&app, Status::Running);
        metrics.jobs.ended(&app, Status::Failed);
        metrics.jobs.ended(&app, Status::Failed);
        let text = metrics.text(Vec::new()).unwrap();
        for (outcome, jobs) in [("completed", 0), ("failed", 2), ("cancelled", 0)] {
            let line = format!("glimpse_jobs_total{{app=\"glimpse/demo\",outcome=\"{outcome}\"}} {jobs}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(!text.contains("running"), "{text}");
    }
}
