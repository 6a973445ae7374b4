//! The watcher sees every entry of every log as Redis writes it, on a connection that no proxy disturbs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use glimpse_test_support::RedisServer;

use crate::story::{Seen, What};

/// The entries that were written to the logs, and when.
#[derive(Debug, Clone, Default)]
pub struct Watcher(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    jobs: BTreeMap<String, Vec<(Instant, Seen)>>,
    /// Which worker runs which job.
    busy: BTreeMap<String, String>,
    listened: usize,
}

impl Watcher {
    /// Watches until the server ends. After a restart, call it again before any other process connects.
    pub fn listen(&self, redis: &RedisServer) {
        let mut monitor = redis.monitor().expect("a server that answers");
        self.0.lock().unwrap().listened += 1;
        let watched = self.0.clone();
        thread::spawn(move || {
            while let Ok(command) = monitor.next_command() {
                let at = Instant::now();
                let [name, log, .., frame] = &command[..] else { continue };
                let Some((_, id)) = log.rsplit_once(":log:").filter(|_| name == "XADD") else { continue };
                let Some((seq, json)) = frame.split_once(' ') else { continue };
                let Some(seen) = Seen::read(seq, json) else { continue };
                watched.lock().unwrap().see(id, at, seen);
            }
        });
    }

    /// How often it may have missed events: each time a server was killed.
    pub fn blinks(&self) -> usize {
        self.0.lock().unwrap().listened - 1
    }

    pub fn jobs(&self) -> BTreeMap<String, Vec<Seen>> {
        let jobs = &self.0.lock().unwrap().jobs;
        let seen = |events: &Vec<(Instant, Seen)>| events.iter().map(|(_, seen)| seen.clone()).collect();
        jobs.iter().map(|(id, events)| (id.clone(), seen(events))).collect()
    }

    /// The time at which each ended job ended.
    pub fn ended(&self) -> Vec<(String, Instant)> {
        let jobs = &self.0.lock().unwrap().jobs;
        let ends = jobs.iter().filter_map(|(id, events)| {
            let (at, _) = events.iter().find(|(_, seen)| seen.is_terminal())?;
            Some((id.clone(), *at))
        });
        ends.collect()
    }

    /// The job that a worker runs.
    pub fn job_of(&self, worker: &str) -> Option<String> {
        let watched = self.0.lock().unwrap();
        watched.busy.iter().find(|(_, by)| *by == worker).map(|(job, _)| job.clone())
    }

    /// The first start of a job after a given time.
    pub fn started_after(&self, job: &str, moment: Instant) -> Option<Instant> {
        let watched = self.0.lock().unwrap();
        let started = |at: Instant, seen: &Seen| at > moment && matches!(seen.what, What::Started { .. });
        watched.jobs.get(job)?.iter().find(|(at, seen)| started(*at, seen)).map(|(at, _)| *at)
    }
}

impl Watched {
    fn see(&mut self, id: &str, at: Instant, seen: Seen) {
        match &seen.what {
            What::Started { worker, .. } => drop(self.busy.insert(id.to_owned(), worker.clone())),
            What::Preview { .. } => {}
            _ => drop(self.busy.remove(id)),
        }
        self.jobs.entry(id.to_owned()).or_default().push((at, seen));
    }
}
