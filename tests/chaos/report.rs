//! The report of a run: numbers to compare with those of another run.

use std::{
    collections::BTreeMap,
    fmt::{Display, Formatter, Result},
    time::Duration,
};

use crate::{
    fleet::Fleet,
    story::{What, World},
};

/// The numbers of a run.
#[derive(Debug)]
pub struct Report {
    pub took: Duration,
    /// Memory of an API at the start and at the end.
    pub resident: [u64; 2],
    pub unanswered: usize,
    ends: BTreeMap<String, usize>,
    attempts: usize,
    faults: BTreeMap<&'static str, usize>,
    /// From a fault to the job's next attempt, by kind of fault.
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
}

impl Report {
    pub fn of(fleet: &Fleet, world: &World, took: Duration, resident: [u64; 2], unanswered: usize) -> Self {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        let mut attempts = 0;
        for seen in world.stories.values().flat_map(|story| &story.watched) {
            attempts += usize::from(matches!(seen.what, What::Started { .. }));
            let end = match &seen.what {
                What::Failed(code) => (*code).to_owned(),
                What::Cancelled(by) => format!("cancelled by {by}"),
                _ => seen.status().unwrap_or_default().to_owned(),
            };
            if seen.is_terminal() {
                *ends.entry(end).or_default() += 1;
            }
        }
        let notes = fleet.notes.lock().unwrap();
        let mut recoveries: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (kind, job, at) in &notes.lost {
            // A job that was not lost after all has no further attempt.
            if let Some(again) = fleet.watcher.started_after(job, *at) {
                recoveries.entry(*kind).or_default().push(again - *at);
            }
        }
        recoveries.values_mut().for_each(|times| times.sort());
        let faults = notes.faults.clone();
        Self { took, resident, unanswered, ends, attempts, faults, recoveries }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let jobs: usize = self.ends.values().sum();
        let faults: usize = self.faults.values().sum();
        let seconds = self.took.as_secs_f64();
        writeln!(f, "{jobs} jobs ended in {seconds:.0} s, {:.1} per second:", jobs as f64 / seconds)?;
        counts(f, &self.ends)?;
        writeln!(f, "{} attempts; {} submits were never answered", self.attempts, self.unanswered)?;
        writeln!(f, "{faults} faults:")?;
        counts(f, &self.faults)?;
        for (kind, times) in &self.recoveries {
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
            writeln!(
                f,
                "from \"{kind}\" to the job's next attempt: p50 {:.2} s, p99 {:.2} s, of {} jobs",
                at(50),
                at(99),
                times.len()
            )?;
        }
        let [start, end] = self.resident.map(|bytes| bytes as f64 / f64::from(1 << 20));
        write!(f, "an API had {start:.1} MiB at the start, {end:.1} MiB at the end")
    }
}

fn counts(f: &mut Formatter<'_>, counts: &BTreeMap<impl Display, usize>) -> Result {
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    writeln!(f, "    {}", counts.join(", "))
}
