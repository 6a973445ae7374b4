//! Dead jobs: lists and retries them.

use bytes::Bytes;
use redis::Value;

use super::{
    backend::Backend,
    scripts::{DEAD, RETRY, ScriptReply, number, unexpected},
    shape::{Shape, read_as, unreadable},
};
use crate::{
    error::{StoreError, StoreResult},
    event::{Event, Frame, ascii_json},
    id::{App, JobId, Micros, Partition},
    job::{DeadJob, Job},
    store::{Quota, Retry, transition::dead::newest_first},
};

impl Backend {
    pub(super) async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        let partitions: Vec<_> = match app {
            Some(app) => vec![app.partition()],
            None => Partition::all().collect(),
        };
        let lists = partitions.into_iter().map(|partition| self.dead_of(partition, app));
        let mut dead = futures::future::try_join_all(lists).await?.concat();
        newest_first(&mut dead, &self.rules);
        Ok(dead)
    }

    async fn dead_of(&self, partition: Partition, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        let keys = self.keys.of(partition);
        let (jobs, logs) = (keys.jobs(), keys.logs());
        let call = DEAD.keys([keys.dead()]).text(app.map_or("", App::as_str)).text(&jobs).text(&logs);
        let (listed, unreadable) = list(call.read(&self.nodes).await?)?;
        for error in unreadable {
            self.unreadable.skipped(&format!("an entry of {}", keys.dead()), &error);
        }
        Ok(listed)
    }

    pub(super) async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        // A job's data do not change. The script checks whether the id belongs to another job by now.
        let Some((old, json)) = self.job_and_json(id).await? else { return Ok(Retry::Unknown) };
        let job = old.retried();
        let keys = self.keys.of_app(&job.app);
        let mut names = Vec::from(keys.entering(&job));
        names.extend([keys.dead(), keys.job(id)]);
        let json = ascii_json(&retried(json, &job));
        let call = self.entering(RETRY.keys(names), &job, &json, (Quota::default(), 0)).value(id);
        let wanted = self.rules.submit_replicas;
        match call.run_replicated(&self.nodes, wanted).await? {
            (ScriptReply::Submitted { .. }, replicas) if replicas < wanted => {
                Ok(Retry::Unconfirmed { id: job.id, replicas })
            }
            (ScriptReply::Submitted { position }, _) => Ok(Retry::Submitted { id: job.id, position }),
            (ScriptReply::Duplicate, _) => Ok(Retry::Duplicate { id: job.id }),
            (ScriptReply::Full { waiting, pace }, _) => Ok(Retry::Full { waiting, pace }),
            (ScriptReply::Unknown, _) => Ok(Retry::Unknown),
            (other, _) => unexpected(other),
        }
    }
}

/// The JSON of `job`, which retries the job of this JSON. It keeps members that only a newer release knows.
fn retried(mut old: serde_json::Value, job: &Job) -> serde_json::Value {
    old["id"] = serde_json::json!(job.id);
    old["retry_of"] = serde_json::json!(job.retry_of);
    old
}

/// Reads the reply of `dead`. An entry that cannot be read must not hide the others: it is returned as an error.
pub(super) fn list(answer: Value) -> StoreResult<(Vec<DeadJob>, Vec<StoreError>)> {
    let lines: Vec<Vec<Vec<u8>>> = read_as("the dead list", answer)?;
    let (mut jobs, mut unreadable) = (Vec::with_capacity(lines.len()), Vec::new());
    for line in lines {
        match listed(line) {
            Ok(job) => jobs.extend(job),
            Err(error) => unreadable.push(error),
        }
    }
    Ok((jobs, unreadable))
}

/// One entry of the list; `None` if its event is from a newer version.
fn listed(line: Vec<Vec<u8>>) -> StoreResult<Option<DeadJob>> {
    let Ok([id, app, attempt, finished, frame]) = <[Vec<u8>; 5]>::try_from(line) else {
        return Err(StoreError::Corrupt("an entry of the dead list does not have 5 fields".to_owned()));
    };
    let Some(Event::Failed { code, message }) =
        Frame::parse(Bytes::from(frame)).and_then(|frame| frame.event())
    else {
        return Ok(None);
    };
    let text = |bytes| {
        String::from_utf8(bytes).map_err(|error| unreadable("a name", Shape::of_text(error.as_bytes())))
    };
    Ok(Some(DeadJob {
        id: number(&text(id)?)?,
        app: number(&text(app)?)?,
        code,
        message,
        finished_at: Micros(number(&text(finished)?)?),
        attempt: number(&text(attempt)?)?,
    }))
}
