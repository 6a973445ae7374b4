//! A reaping pass: all partitions in parallel, the jobs of a partition one after the other.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    backend::Backend,
    queue::{exhausted_around, millis},
    scripts::{DROP, DUE, REAP, ScriptReply, number, unexpected},
    shape::{Shape, read_as, unreadable},
    unreadable::printable,
};
use crate::{
    error::{StoreError, StoreResult},
    event::{Event, FailureCode},
    id::{App, JobId, Micros, Partition},
    job::Status,
    store::{
        Reaped,
        transition::{
            ReapOutcome,
            ending::{RUN_TIMEOUT, START_TIMEOUT, WORKER_LOST},
        },
    },
};

/// A job that reap must check.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Due {
    id: JobId,
    at: Micros,
    /// The job's app, which names its queue; `None` if the job's hash is gone.
    app: Option<App>,
}

/// The entries of a partition's due key.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Overdue {
    pub(super) jobs: Vec<Due>,
    /// Members that are not the id of a job.
    pub(super) strange: Vec<Vec<u8>>,
}

/// The outcomes of a pass, sorted by due time.
type Round = BTreeMap<(Micros, JobId), ReapOutcome>;

impl Backend {
    /// One pass over all partitions. An unreachable node does not stop the pass of the other partitions, but the pass
    /// returns its error. Data that this version cannot read is skipped.
    pub(super) async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        let mut round = Round::new();
        let rounds = Partition::all().map(|partition| self.reap_of(partition, seen));
        let mut failure = None;
        for (done, failed) in futures::future::join_all(rounds).await {
            round.extend(done);
            failure = failed.or(failure);
        }
        let mut reaped = Reaped::default();
        for ((_, id), outcome) in round {
            match outcome {
                ReapOutcome::Ended => reaped.ended.push(id),
                ReapOutcome::GivenBack => reaped.given_back.push(id),
                ReapOutcome::Nothing => {}
            }
        }
        reaped.now = self.time().await?;
        failure.map_or(Ok(reaped), Err)
    }

    async fn reap_of(&self, partition: Partition, mut seen: Micros) -> (Round, Option<StoreError>) {
        let mut round = Round::new();
        let mut failure = None;
        let due = match self.due(partition).await {
            Ok(due) => due,
            Err(error) => {
                self.skip_unreadable(&self.keys.of(partition).due(), error, &mut failure);
                return (round, failure);
            }
        };
        for member in due.strange {
            if let Err(error) = self.drop_due(partition, &member).await {
                self.skip_unreadable(&self.keys.of(partition).due(), error, &mut failure);
            }
        }
        for due in due.jobs {
            match self.reap_one(&due, seen).await {
                Ok((outcome, now)) => {
                    // The reply came in time, so the next command may use its time.
                    if now.since(seen) <= self.rules.reap_within {
                        seen = now;
                    }
                    round.insert((due.at, due.id), outcome);
                }
                Err(error) => self.skip_unreadable(&format!("the job {}", due.id), error, &mut failure),
            }
        }
        (round, failure)
    }

    /// Data that cannot be read is no outage: the pass continues, and does not fail.
    fn skip_unreadable(&self, what: &str, error: StoreError, failure: &mut Option<StoreError>) {
        match error {
            StoreError::Corrupt(_) => self.unreadable.skipped(what, &error),
            StoreError::Unavailable(_) => *failure = Some(error),
        }
    }

    /// Removes a member that no process can read.
    async fn drop_due(&self, partition: Partition, member: &[u8]) -> StoreResult<()> {
        let key = self.keys.of(partition).due();
        match DROP.keys([key.clone()]).bytes(member).run(&self.nodes).await? {
            ScriptReply::Done => {
                let member = printable(member);
                tracing::warn!(key, member, "removed a member that is not the id of a job");
                Ok(())
            }
            other => unexpected(other),
        }
    }

    async fn due(&self, partition: Partition) -> StoreResult<Overdue> {
        let keys = self.keys.of(partition);
        let jobs = keys.jobs();
        overdue(DUE.keys([keys.due()]).now(self.now()).text(&jobs).read(&self.nodes).await?)
    }

    async fn reap_one(&self, due: &Due, seen: Micros) -> StoreResult<(ReapOutcome, Micros)> {
        let id = due.id;
        let Some(keys) = self.keys.of_job(id) else { return Ok((ReapOutcome::Nothing, seen)) };
        let (queue, wake, looking) = match &due.app {
            Some(app) => (keys.queue(app), keys.wake(app), keys.looking(app)),
            None => (keys.no_queue(), keys.no_wake(), keys.no_looking()),
        };
        let failed = |code, message: &str| Event::Failed { code, message: message.to_owned() }.to_json();
        let start_timeout = failed(FailureCode::StartTimeout, START_TIMEOUT);
        let run_timeout = failed(FailureCode::RunTimeout, RUN_TIMEOUT);
        let (head, tail) = exhausted_around(WORKER_LOST);
        let call = REAP
            .keys([
                keys.job(id),
                keys.log(id),
                queue,
                keys.due(),
                wake,
                keys.dead(),
                keys.checkpoint(id),
                looking,
                keys.hooks(),
            ])
            .now(self.now())
            .value(id)
            .text(due.app.as_ref().map_or("", App::as_str))
            .value(seen.0)
            .value(self.rules.reap_within.as_micros())
            .value(self.rules.attempts)
            .text(&start_timeout)
            .text(&run_timeout)
            .text(&head)
            .text(&tail)
            .value(millis(self.rules.ended_ttl));
        match self.with_dead_list_limits(call).run(&self.nodes).await? {
            ScriptReply::Reaped { outcome, now } => {
                if let (ReapOutcome::Ended, Some(app)) = (outcome, &due.app) {
                    self.metrics.jobs.ended(app, Status::Failed);
                }
                Ok((outcome, now))
            }
            other => unexpected(other),
        }
    }
}

/// Reads the reply of `due`.
pub(super) fn overdue(answer: Value) -> StoreResult<Overdue> {
    let flat: Vec<Vec<u8>> = read_as("the list of due jobs", answer)?;
    let mut due = Overdue::default();
    for entry in flat.chunks(3) {
        let [member, at, app] = entry else {
            return Err(StoreError::Corrupt(format!("a list of due jobs has {} entries", flat.len())));
        };
        let at = str::from_utf8(at).map_err(|_| unreadable("a due time", Shape::of_text(at)))?;
        let at = Micros(number::<f64>(at)? as u64);
        match str::from_utf8(member).ok().and_then(|member| member.parse().ok()) {
            // An invalid app has no queue.
            Some(id) => {
                let app = str::from_utf8(app).ok().and_then(|app| app.parse().ok());
                due.jobs.push(Due { id, at, app });
            }
            None => due.strange.push(member.clone()),
        }
    }
    Ok(due)
}
