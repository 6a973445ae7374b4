//! Reads a job's state and its log, each with one command or script.

use bytes::Bytes;
use redis::Value;
use serde::de::DeserializeOwned;

use super::{
    backend::Backend,
    scripts::{READ, STATUS, number},
    shape::{Shape, bad_json, read_as, unreadable},
};
use crate::{
    error::{StoreError, StoreResult},
    event::Frame,
    id::{App, JobId, Micros, Seq},
    job::{ANONYMOUS, Job, JobState, Status},
    store::Shown,
};

/// A read of a job's log.
#[derive(Debug)]
pub(super) struct Read {
    /// `None` if the job does not exist.
    pub(super) status: Option<Status>,
    /// The number of the newest event.
    pub(super) newest_seq: Seq,
    /// The newest event of an ended job, if this version can read it.
    pub(super) newest: Option<Frame>,
    /// The log's events after the cursor.
    pub(super) frames: Vec<Frame>,
}

impl Backend {
    /// The job's app; `None` if the job does not exist.
    pub(super) async fn app_of(&self, id: JobId) -> StoreResult<Option<App>> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(None) };
        let key = keys.job(id);
        app(self.nodes.query(&key, redis::cmd("HGET").arg(&key).arg("app")).await?)
    }

    /// The job's tenant; `None` if the job does not exist, or is one of the previous release, which had no tenants.
    pub(super) async fn tenant_of(&self, id: JobId) -> StoreResult<Option<String>> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(None) };
        let key = keys.job(id);
        read_as("a tenant", self.nodes.query(&key, redis::cmd("HGET").arg(&key).arg("tenant")).await?)
    }

    /// The job as it was submitted, and its JSON, which may have members that only another release knows. `None` if the
    /// job does not exist.
    pub(super) async fn job_and_json(&self, id: JobId) -> StoreResult<Option<(Job, serde_json::Value)>> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(None) };
        let key = keys.job(id);
        let answer = self.nodes.query(&key, redis::cmd("HGET").arg(&key).arg("job")).await?;
        let job = job(answer.clone())?;
        let json = job_json(answer)?;
        Ok(job.zip(json))
    }

    pub(super) async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        Ok(self.look(id, "").await?.map(|(state, _)| state))
    }

    pub(super) async fn status_with(
        &self,
        id: JobId,
        shown: Shown,
    ) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        let event = match shown {
            Shown::End => "end",
            Shown::Newest => "newest",
        };
        self.look(id, event).await
    }

    async fn look(&self, id: JobId, event: &str) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        let Some(app) = self.app_of(id).await? else { return Ok(None) };
        let keys = self.keys.of_app(&app);
        let call = STATUS.keys([keys.job(id), keys.log(id), keys.queue(&app)]).value(id).text(event);
        state(id, call.read(&self.nodes).await?)
    }

    /// Reads the job's status, the events after `cursor`, and the terminal event of an ended job.
    pub(super) async fn read(&self, id: JobId, cursor: Option<Seq>) -> StoreResult<Read> {
        let Some(keys) = self.keys.of_job(id) else {
            return Ok(Read { status: None, newest_seq: Seq(0), newest: None, frames: Vec::new() });
        };
        let call = READ.keys([keys.job(id), keys.log(id)]).value(cursor.unwrap_or_default());
        read(call.read(&self.nodes).await?)
    }
}

/// Reads the field `app` of the job's hash.
pub(super) fn app(answer: Value) -> StoreResult<Option<App>> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(app) => number(&text(app)?).map(Some),
        other => Err(unreadable("an app", Shape::of(&other))),
    }
}

/// Reads the field `job` of the job's hash.
pub(super) fn job(answer: Value) -> StoreResult<Option<Job>> {
    job_json(answer)
}

fn job_json<T: DeserializeOwned>(answer: Value) -> StoreResult<Option<T>> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(job) => {
            serde_json::from_slice(&job).map(Some).map_err(|error| bad_json("a job", &error))
        }
        other => Err(unreadable("a job", Shape::of(&other))),
    }
}

/// Reads the reply of `status`.
pub(super) fn state(id: JobId, answer: Value) -> StoreResult<Option<(JobState, Option<Frame>)>> {
    let fields: Vec<Vec<u8>> = match answer {
        Value::Nil => return Ok(None),
        value => read_as("a job's state", value)?,
    };
    let Ok(fields) = <[Vec<u8>; 18]>::try_from(fields) else {
        return Err(StoreError::Corrupt(format!("the state of {id} does not have 18 fields")));
    };
    let [status, attempt, worker, step, seq, created, started, finished, app, digest, rest @ ..] = fields;
    let [steps, retry_of, needs, prompt, position, frame, tenant, early] = rest;
    let times = [created, started, finished].map(|at| present::<u64>(at).map(|at| at.map(Micros)));
    let [created, started, finished] = times;
    let state = JobState {
        id,
        app: number(&text(app)?)?,
        tenant: Some(text(tenant)?)
            .filter(|tenant| !tenant.is_empty())
            .unwrap_or_else(|| ANONYMOUS.to_owned()),
        digest: text(digest)?,
        steps: number(&text(steps)?)?,
        retry_of: present(retry_of)?,
        needs: number(&text(needs)?)?,
        prompt: Some(text(prompt)?).filter(|prompt| !prompt.is_empty()),
        status: word(&status)?,
        attempt: number(&text(attempt)?)?,
        worker: present(worker)?,
        position: present(position)?,
        step: present(step)?,
        finish_early: present(early)?,
        seq: Seq(number(&text(seq)?)?),
        created_at: created?.unwrap_or_default(),
        started_at: started?,
        finished_at: finished?,
    };
    Ok(Some((state, Frame::parse(frame.into()))))
}

/// Reads the reply of `read`.
pub(super) fn read(answer: Value) -> StoreResult<Read> {
    let (status, seq, newest, frames): (Vec<u8>, u64, Vec<u8>, Vec<Vec<u8>>) =
        read_as("a job's log", answer)?;
    Ok(Read {
        status: if status.is_empty() { None } else { Some(word(&status)?) },
        newest_seq: Seq(seq),
        newest: Frame::parse(Bytes::from(newest)),
        // Skips events of a newer version that this version cannot read.
        frames: frames.into_iter().filter_map(|frame| Frame::parse(Bytes::from(frame))).collect(),
    })
}

fn text(bytes: Vec<u8>) -> StoreResult<String> {
    String::from_utf8(bytes).map_err(|error| unreadable("a name", Shape::of_text(error.as_bytes())))
}

fn word(bytes: &[u8]) -> StoreResult<Status> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(Status::parse)
        .ok_or_else(|| unreadable("a status", Shape::of_text(bytes)))
}

/// A field that may have no value.
fn present<T: std::str::FromStr>(bytes: Vec<u8>) -> StoreResult<Option<T>> {
    if bytes.is_empty() { Ok(None) } else { number(&text(bytes)?).map(Some) }
}
