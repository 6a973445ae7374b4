//! Dead jobs: the dead list, and retries.

use super::{Change, State};
use crate::{
    event::Event,
    id::{App, JobId, Micros, Partition},
    job::DeadJob,
    store::{Retry, Rules},
};

impl Change<'_> {
    /// Adds a job that has just ended to the dead list.
    pub(super) fn add_to_dead_list(&mut self, id: JobId) {
        let Some(record) = self.state.jobs.get(&id) else { return };
        let list = self.state.dead.entry(record.job.app.partition()).or_default();
        list.insert((self.now, id));
        while list.len() > self.rules.dead_kept {
            list.pop_first();
        }
    }

    /// Removes a job that ended `at` from the dead list; returns whether it was there.
    pub(super) fn remove_from_dead_list(&mut self, partition: Partition, at: Micros, id: JobId) -> bool {
        self.state.dead.get_mut(&partition).is_some_and(|list| list.remove(&(at, id)))
    }

    pub(super) fn retry(&mut self, id: JobId) -> Retry {
        let Some(record) = self.state.jobs.get(&id) else { return Retry::Unknown };
        let (job, finished_at) = (record.job.retried(), record.finished_at);
        let (new, finish_early) = (job.id, record.finish_early);
        if self.state.jobs.contains_key(&job.id) {
            return Retry::Duplicate { id: job.id };
        }
        let partition = job.app.partition();
        let listed =
            |at: &Micros| self.state.dead.get(&partition).is_some_and(|list| list.contains(&(*at, id)));
        let Some(at) = finished_at.filter(listed) else { return Retry::Unknown };
        if let Some(waiting) = self.full(&job.app) {
            return Retry::Full { waiting, pace: self.pace(&job.app) };
        }
        self.remove_from_dead_list(partition, at, id);
        let position = self.enter(job);
        if let Some(record) = self.state.jobs.get_mut(&new) {
            record.finish_early = finish_early;
        }
        Retry::Submitted { id: new, position }
    }
}

impl State {
    /// The dead list of one app, or of all, newest first.
    pub fn dead(&self, app: Option<&App>, rules: &Rules) -> Vec<DeadJob> {
        let listed = self.dead.values().flatten().filter_map(|(_, id)| self.jobs.get(id));
        let mut dead: Vec<_> = listed
            .filter(|record| app.is_none_or(|app| record.job.app == *app))
            .filter_map(|record| {
                let Event::Failed { code, message } = record.log.back()?.event()? else { return None };
                Some(DeadJob {
                    id: record.job.id,
                    app: record.job.app.clone(),
                    code,
                    message,
                    finished_at: record.finished_at?,
                    attempt: record.attempt,
                })
            })
            .collect();
        newest_first(&mut dead, rules);
        dead
    }
}

/// Sorts by end time and then by id, newest first, and keeps at most [`Rules::dead_kept`].
pub fn newest_first(dead: &mut Vec<DeadJob>, rules: &Rules) {
    dead.sort_by_key(|dead| std::cmp::Reverse((dead.finished_at, dead.id)));
    dead.truncate(rules.dead_kept);
}
