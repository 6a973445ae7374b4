//! The metrics of a process, in the text format of Prometheus.
//!
//! Every family of a process is in its text from the start, at zero. No label has a prompt or an id: `app` is the name
//! of an app that workers serve or served, `outcome` and `stage` are words of a closed list.

mod family;
mod jobs;
mod queue;
mod redis;
mod stage;
mod streams;
mod work;

use std::sync::Arc;

use prometheus_client::{
    encoding::prometheus_text::{self, CONTENT_TYPE},
    registry::Registry,
};

pub use jobs::Jobs;
pub use queue::QueueLength;
pub use redis::RedisSeconds;
pub use stage::{Stage, StageSeconds};
pub use streams::{OpenStream, Streams};
pub use work::Work;

/// The `Content-Type` of [`Metrics::text`].
pub const TEXT_FORMAT: &str = CONTENT_TYPE;

/// Which families a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An API with a shared Redis: queue, event streams, Redis, and the jobs that it ends.
    Api,
    /// A worker: jobs, and the work on them.
    Worker,
    /// Both in one process: all but Redis's.
    Serve,
}

/// The metrics of one process. Clones share their values. What is counted in a family that the process does not have
/// is not shown.
#[derive(Debug, Clone)]
pub struct Metrics {
    role: Role,
    /// The jobs that this process ended.
    pub jobs: Jobs,
    /// The work on jobs.
    pub work: Work,
    /// The open event streams.
    pub streams: Streams,
    /// The commands to Redis.
    pub redis: RedisSeconds,
    registry: Arc<Registry>,
}

impl Metrics {
    /// New metrics, all at zero.
    pub fn new(role: Role) -> Self {
        let (jobs, work, streams, redis) =
            (Jobs::default(), Work::default(), Streams::default(), RedisSeconds::default());
        let mut registry = Registry::default();
        jobs.register(&mut registry);
        if role != Role::Api {
            work.register(&mut registry);
        }
        if role != Role::Worker {
            streams.register(&mut registry);
        }
        if role == Role::Api {
            redis.register(&mut registry);
        }
        Self { role, jobs, work, streams, redis, registry: Arc::new(registry) }
    }

    /// The text for Prometheus. `queues`: the queues of the apps that are served now; empty if the store does not say.
    /// A worker shows none.
    ///
    /// # Errors
    /// Only if a family cannot be written as text, which is a defect.
    pub fn text(&self, queues: Vec<QueueLength>) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        if self.role != Role::Worker {
            let mut registry = Registry::default();
            queue::register(&mut registry, queues);
            prometheus_text::encode(&mut text, &registry)?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(role: Role) -> Vec<String> {
        let text = Metrics::new(role).text(Vec::new()).unwrap();
        let named = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
        text.lines().filter_map(named).collect()
    }

    #[test]
    fn every_family_is_there_from_the_start() {
        let queue =
            ["glimpse_queue_depth", "glimpse_queue_oldest_wait_seconds", "glimpse_expected_wait_seconds"];
        let work = [
            "glimpse_steps_total",
            "glimpse_leases_lost_total",
            "glimpse_stage_seconds",
            "glimpse_preview_overhead_ratio",
        ];
        let streams = ["glimpse_sse_clients", "glimpse_sse_bytes_total"];
        let (jobs, redis) = (["glimpse_jobs_total"], ["glimpse_redis_seconds"]);
        assert_eq!(families(Role::Serve), [&jobs[..], &work, &streams, &queue].concat());
        assert_eq!(families(Role::Worker), [&jobs[..], &work].concat());
        assert_eq!(families(Role::Api), [&jobs[..], &streams, &redis, &queue].concat());
    }

    #[test]
    fn every_stage_is_there_from_the_start() {
        let text = Metrics::new(Role::Worker).text(Vec::new()).unwrap();
        for stage in ["text", "denoise", "preview", "decode", "encode", "publish"] {
            let count = format!("glimpse_stage_seconds_count{{stage=\"{stage}\"}} 0\n");
            assert!(text.contains(&count), "{stage}: {text}");
        }
    }
}
