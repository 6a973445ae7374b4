//! Reads of many jobs: a tenant's jobs, and an app's queue.

use std::time::Duration;

use redis::Value;

use super::{
    backend::Backend,
    scripts::{LINE, LIST, POSITIONS, number},
    shape::read_as,
};
use crate::{
    error::{StoreError, StoreResult},
    id::{App, JobId, Micros, Partition},
    job::Status,
    store::{
        ListedJob, Listing, Waiting,
        listing::{FIRST_OF_CLASS, newest_first},
    },
};

/// How many positions one script reads: Lua limits the values of a reply's table far above it.
const POSITIONS_AT_ONCE: usize = 1000;

impl Backend {
    pub(super) async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        let before = match listing.before {
            None => None,
            Some(id) => match self.listed_at(id, &listing.tenant).await? {
                Some(at) => Some((at, id)),
                None => return Ok(None),
            },
        };
        let lists = Partition::all().map(|partition| self.jobs_of(partition, listing, before));
        let all = futures::future::try_join_all(lists).await?.concat();
        Ok(Some(newest_first(all, listing.limit)))
    }

    /// When a job in a tenant's list was created.
    async fn listed_at(&self, id: JobId, tenant: &str) -> StoreResult<Option<Micros>> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(None) };
        let key = keys.listed(tenant);
        let score = self.nodes.query(&key, redis::cmd("ZSCORE").arg(&key).arg(id.to_string())).await?;
        let score: Option<f64> = read_as("a job's time", score)?;
        Ok(score.map(|score| Micros(score as u64)))
    }

    async fn jobs_of(
        &self,
        partition: Partition,
        listing: &Listing,
        before: Option<(Micros, JobId)>,
    ) -> StoreResult<Vec<ListedJob>> {
        let keys = self.keys.of(partition);
        let names = keys.jobs();
        let call = LIST
            .keys([keys.listed(&listing.tenant)])
            .value(listing.limit)
            .text(listing.status.map_or("", Status::as_str))
            .text(&names)
            .value(before.map_or_else(String::new, |(at, _)| at.0.to_string()))
            .value(before.map_or_else(String::new, |(_, id)| id.to_string()));
        jobs(call.read(&self.nodes).await?)
    }

    pub(super) async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        let queue = self.keys.of_app(app).queue(app);
        let mut positions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(POSITIONS_AT_ONCE) {
            let call = ids.iter().fold(POSITIONS.keys([queue.clone()]), |call, id| call.value(id));
            let answer = ranks(call.read(&self.nodes).await?)?;
            if answer.len() != ids.len() {
                return Err(StoreError::Corrupt("the positions are not as many as the jobs".to_owned()));
            }
            positions.extend(answer);
        }
        Ok(positions)
    }

    pub(super) async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        let keys = self.keys.of_app(app);
        let jobs = keys.jobs();
        let call =
            LINE.keys([keys.queue(app), keys.pace(app)]).now(self.now()).text(&jobs).value(FIRST_OF_CLASS);
        line(call.read(&self.nodes).await?)
    }
}

/// Reads the reply of `list`.
pub(super) fn jobs(answer: Value) -> StoreResult<Vec<ListedJob>> {
    let lines: Vec<(String, String, String, String)> = read_as("a tenant's jobs", answer)?;
    let job = |(id, app, status, created): (String, String, String, String)| {
        Ok(ListedJob {
            id: number(&id)?,
            app: number(&app)?,
            status: Status::parse(&status)
                .ok_or_else(|| StoreError::Corrupt("a listed job has an unknown status".to_owned()))?,
            created_at: Micros(number(&created)?),
        })
    };
    lines.into_iter().map(job).collect()
}

/// Reads the reply of `positions`.
pub(super) fn ranks(answer: Value) -> StoreResult<Vec<Option<u64>>> {
    let ranks: Vec<String> = read_as("the positions of jobs", answer)?;
    ranks.iter().map(|rank| if rank.is_empty() { Ok(None) } else { number(rank).map(Some) }).collect()
}

/// Reads the reply of `line`.
pub(super) fn line(answer: Value) -> StoreResult<Waiting> {
    let (jobs, pace, oldest): (String, String, String) = read_as("an app's queue", answer)?;
    let time = |text: &str| match text {
        "" => Ok(None),
        micros => number(micros).map(|micros| Some(Duration::from_micros(micros))),
    };
    Ok(Waiting { jobs: number(&jobs)?, pace: time(&pace)?, oldest: time(&oldest)? })
}
