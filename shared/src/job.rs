//! A job: one request for pictures in the fleet.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    event::FailureCode,
    id::{App, JobId, Micros, Seq, WorkerId},
    needs::{Capabilities, Needs, Word},
    recipe::ModelRecipe,
    request::{ImageSpec, LoraSource},
    webhook::Webhook,
    weight::Weight,
};

/// A job as it is submitted: the data that never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The app whose workers run it.
    pub app: App,
    /// The tenant that submitted it: [`ANONYMOUS`] without keys.
    #[serde(default = "anonymous")]
    pub tenant: String,
    /// The tenant's weight when it was submitted. A job of the previous release has the usual one.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
    /// Lower classes are served first.
    pub class: Class,
    /// What to make.
    pub spec: ImageSpec,
    /// SHA-256 (hex) of the request: distinguishes a repeated submit from a conflicting one.
    pub digest: String,
    /// The timeout from the submit to the first claim. The store keeps whole microseconds.
    pub start_timeout: Duration,
    /// The timeout from the first claim to the end, over all attempts and waits.
    pub run_timeout: Duration,
    /// The dead job that this one retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<JobId>,
    /// What a worker should have loaded: a hex digest, at most 64 characters, of everything besides the model;
    /// `None` if there is nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// What a worker must be capable of; empty for a job of the previous release.
    #[serde(default, skip_serializing_if = "Needs::is_nothing")]
    pub needs: Needs,
    /// W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What is called when the job has ended. A job of the previous release has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// A priority class. The queue sorts by it first, and then fairly between tenants; a tenant's own jobs by their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The default.
    #[default]
    Normal,
    /// After all normal jobs.
    Low,
}

impl Class {
    /// The number that the queue sorts by, 0 to 3.
    pub fn rank(self) -> u64 {
        match self {
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// A job's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Queued. Entered by submit, release and reap; left by claim, cancel and reap.
    Queued,
    /// A worker holds a lease on it. Entered by claim; left by finish, release, cancel and reap.
    Running,
    /// Ended with pictures, by finish.
    Completed,
    /// Ended without pictures, by finish, release (last attempt) or reap.
    Failed,
    /// Ended by cancel.
    Cancelled,
}

impl Status {
    /// The word in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`Status::as_str`] back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Whether the job has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A job's state at one moment, without its request, which may have pictures and which only the worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct JobState {
    /// The job.
    pub id: JobId,
    /// The app whose workers run it.
    pub app: App,
    /// The tenant that submitted it.
    pub tenant: String,
    /// See [`Job::digest`].
    pub digest: String,
    /// The number of denoising steps.
    pub steps: u32,
    /// See [`Job::needs`].
    pub needs: Needs,
    /// What it draws. Only if the job has ended and its end is read too
    /// ([`Shown::End`](crate::store::Shown::End)), and not for a job of an earlier release.
    pub prompt: Option<String>,
    /// The dead job that it retries.
    pub retry_of: Option<JobId>,
    /// Its status.
    pub status: Status,
    /// The newest attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// The worker that holds it, or that finished it.
    pub worker: Option<WorkerId>,
    /// How many waiting jobs are served first; only for a queued job.
    pub position: Option<u64>,
    /// The 0-based step of the attempt's newest preview.
    pub step: Option<u32>,
    /// The step at which somebody asked to finish it early, counted from 0.
    pub finish_early: Option<u32>,
    /// The number of the newest event.
    pub seq: Seq,
    /// When it was submitted.
    pub created_at: Micros,
    /// When it was first claimed.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub finished_at: Option<Micros>,
}

impl Job {
    /// What the job costs its tenant in the queue, in microseconds. See [`Weight::charge`].
    pub fn charge(&self) -> u64 {
        self.weight.charge(&self.spec)
    }

    /// A new job that retries this dead job: the same request and webhook, with another id.
    pub fn retried(&self) -> Self {
        Self { id: self.id.retried(), retry_of: Some(self.id), ..self.clone() }
    }
}

/// A dead job: its last allowed attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Its name.
    pub id: JobId,
    /// The app whose workers ran it.
    pub app: App,
    /// Why it failed, for programs.
    pub code: FailureCode,
    /// Why, for people.
    pub message: String,
    /// When it failed.
    pub finished_at: Micros,
    /// The number of the last attempt, from 1. Drained attempts count.
    pub attempt: u32,
}

/// Why a job was returned to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The worker shuts down. This does not count as a fault.
    Drain,
    /// The attempt failed, with a human-readable reason. This counts as a fault.
    Fault(String),
}

/// How many LoRAs a worker lists: its record is sent with each heartbeat.
pub const MAX_LISTED_LORAS: usize = 200;

/// A worker as it registers itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerRecord {
    /// Unique per process start.
    pub id: WorkerId,
    /// The app that it serves.
    pub app: App,
    /// The model's own width in pixels.
    pub native_width: u32,
    /// The model's own height in pixels.
    pub native_height: u32,
    /// The largest picture that it makes, width times height.
    pub max_pixels: u64,
    /// The schedulers that it offers.
    pub schedulers: Vec<String>,
    /// What its requests may have, as words; a worker of the previous release says nothing.
    #[serde(default)]
    pub features: Vec<String>,
    /// The names of its LoRAs, at most [`MAX_LISTED_LORAS`], in alphabetical order.
    #[serde(default)]
    #[schema(max_items = 200)]
    pub loras: Vec<String>,
    /// The device: `cpu`, `cuda:0`, …
    pub device: String,
    /// The version of the program.
    pub version: String,
    /// What it is doing.
    pub state: WorkerState,
    /// The progress of a busy worker's job, after its first step. The job's id is left out, because every client may
    /// read the list of workers, and the id gives access to the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub progress: Option<Progress>,
    /// Where it keeps finished pictures: `directory`, or `s3://BUCKET/PREFIX`. `None`: inside the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
    /// The model that it has loaded; a worker of the previous release says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<ModelRecipe>,
}

/// A job's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The newest step, from 0.
    #[schema(maximum = 49)]
    pub step: u32,
    /// The number of steps.
    #[schema(maximum = 50)]
    pub steps: u32,
}

impl WorkerRecord {
    /// Its capabilities: admission and claims use the same ones.
    pub fn capabilities(&self) -> Capabilities {
        let schedulers = self.schedulers.iter().map(|name| Word::scheduler(name));
        let features = self.features.iter().map(|name| Word::feature(name));
        Capabilities::new(self.max_pixels, schedulers.chain(features))
    }

    /// From where it loads LoRAs besides its folder.
    pub fn lora_sources(&self) -> BTreeSet<LoraSource> {
        let offers = |source: &LoraSource| self.features.iter().any(|word| word == source.feature());
        LoraSource::ALL.into_iter().filter(offers).collect()
    }

    /// Whether it loads ControlNets from the Hugging Face Hub.
    pub fn has_controlnet_hub(&self) -> bool {
        self.features.iter().any(|word| word == LoraSource::Hub.feature_of_controlnets())
    }
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Waits for a job.
    Idle,
    /// Shuts down and takes no more jobs.
    Draining,
    /// Runs a job, or does what only a newer release knows.
    #[serde(other)]
    Busy,
}

/// A worker and the time of its last heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenWorker {
    /// Its record.
    pub record: WorkerRecord,
    /// The time of its last heartbeat.
    pub last_seen: Micros,
}

/// The tenant of jobs without keys.
pub const ANONYMOUS: &str = "anonymous";

fn anonymous() -> String {
    ANONYMOUS.to_owned()
}

/// The message of a job whose last allowed attempt failed.
pub fn exhausted_message(attempts: u32, reason: &str) -> (FailureCode, String) {
    (FailureCode::AttemptsExhausted, format!("given up after {attempts} attempts: {reason}"))
}
