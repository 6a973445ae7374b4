//! Lists of jobs: each tenant's, and the queue of an app.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, State,
    state::{Pace, QueuePlace, Record},
};
use crate::{
    id::{App, JobId, Micros},
    job::Job,
    store::{
        ListedJob, Listing, Waiting,
        listing::{FIRST_OF_CLASS, newest_first},
    },
};

impl Change<'_> {
    /// Adds a job that is created now to its tenant's list.
    pub(super) fn list(&mut self, job: &Job) {
        let list = self.state.listed.entry((job.app.partition(), job.tenant.clone())).or_default();
        // An expired job may have had the same id.
        list.retain(|(_, id)| *id != job.id);
        list.insert((self.now, job.id));
        while list.len() > self.rules.listed {
            list.pop_first();
        }
    }

    /// Removes a job from its tenant's list.
    pub(super) fn unlist(&mut self, record: &Record) {
        let of = (record.job.app.partition(), record.job.tenant.clone());
        if let Some(list) = self.state.listed.get_mut(&of) {
            list.remove(&(record.created_at, record.job.id));
            if list.is_empty() {
                self.state.listed.remove(&of);
            }
        }
    }
}

impl State {
    /// A tenant's jobs, newest first; `None` if [`Listing::before`] is not one of them.
    pub fn listed(&self, listing: &Listing) -> Option<Vec<ListedJob>> {
        let lists = self.listed.iter().filter(|((_, tenant), _)| *tenant == listing.tenant);
        let entries: BTreeSet<(Micros, JobId)> = lists.flat_map(|(_, list)| list.iter().copied()).collect();
        let before = match listing.before {
            None => None,
            Some(id) => Some(*entries.iter().find(|(_, listed)| *listed == id)?),
        };
        let jobs = entries
            .iter()
            .filter(|entry| before.is_none_or(|before| **entry < before))
            .filter_map(|(created, id)| self.jobs.get(id).filter(|record| record.created_at == *created))
            .filter(|record| listing.status.is_none_or(|status| status == record.status))
            .map(|record| ListedJob {
                id: record.job.id,
                app: record.job.app.clone(),
                status: record.status,
                created_at: record.created_at,
            })
            .collect();
        Some(newest_first(jobs, listing.limit))
    }

    /// The position of each of these jobs in the queue of `app`.
    pub fn positions(&self, app: &App, ids: &[JobId]) -> Vec<Option<u64>> {
        let waits = |record: &&Record| {
            record.job.app == *app
                && self.queues.get(app).is_some_and(|queue| queue.contains(&record.place()))
        };
        let position = |id| self.jobs.get(id).filter(waits).map(|record| self.position(record));
        ids.iter().map(position).collect()
    }

    /// How many jobs of an app wait and since when, and how long its jobs take.
    pub fn waiting(&self, app: &App, now: Micros) -> Waiting {
        let queue = self.queues.get(app);
        let counts = |pace: &&Pace| now < pace.until;
        Waiting {
            jobs: queue.map_or(0, |queue| queue.len() as u64),
            pace: self.pace.get(app).filter(counts).map(|pace| pace.mean),
            oldest: queue.and_then(|queue| self.oldest(queue)).map(|created_at| now.since(created_at)),
        }
    }

    /// When the oldest of the first jobs of each class was submitted.
    fn oldest(&self, queue: &BTreeSet<QueuePlace>) -> Option<Micros> {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        let first = queue.iter().filter(|(rank, _, _)| {
            let seen = seen.entry(*rank).or_default();
            *seen += 1;
            *seen <= FIRST_OF_CLASS
        });
        first.filter_map(|(_, _, id)| self.jobs.get(id)).map(|record| record.created_at).min()
    }
}
