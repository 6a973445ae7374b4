//! Claims, leases, and the data that a worker writes to its job.

use std::fmt;

use bytes::Bytes;

use crate::{
    event::{Event, EventKind, FailureCode, Frame, Image, Timings, Warning},
    id::{App, Seq, WorkerId},
    job::{Job, Status},
    needs::Capabilities,
    request::{MAX_IMAGES, MAX_PIXELS},
};

/// A worker's request for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The worker.
    pub worker: WorkerId,
    /// The app whose queue it claims from.
    pub app: App,
    /// What it has loaded, in the form of [`Job::affinity`].
    pub affinity: Option<String>,
    /// Its capabilities: it gets no job that needs more.
    pub capabilities: Capabilities,
    /// Rises by one with each answered claim. The same number gets the same lease again.
    pub number: u64,
}

/// The right to run a job for a limited time.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The job.
    pub job: Job,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The worker of the attempt.
    pub worker: WorkerId,
    /// The checkpoint of an earlier attempt, to resume from.
    pub checkpoint: Option<Checkpoint>,
    /// After the first step from this one on, counted from 0, the job should finish early; `None`: nobody asked.
    pub finish_early: Option<u32>,
    /// The number of the newest event. While a job runs, only its worker writes, so the next event has this number + 1.
    pub(crate) seq: Seq,
}

/// A checkpoint of an attempt, in the worker's own format. The store does not read it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint(Bytes);

impl Checkpoint {
    /// The size limit in bytes: enough for the largest request with every sampler. At most five tensors (the latents,
    /// and the earlier steps that UniPC of order 3 keeps), each with four 4-byte numbers for each latent pixel of
    /// [`MAX_IMAGES`] pictures of [`MAX_PIXELS`] pixels; and 64 KiB for their names.
    pub const MAX_BYTES: usize = 5 * 4 * 4 * MAX_IMAGES as usize * MAX_PIXELS as usize / 64 + (64 << 10);

    /// `None` if the checkpoint is empty or larger than [`Checkpoint::MAX_BYTES`].
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::MAX_BYTES).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The worker's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({} bytes)", self.0.len())
    }
}

/// A preview, serialised once for the log, the channel and all followers.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The 0-based index of the last step.
    pub step: u32,
    /// Its index among the job's partial pictures; `None` for a preview that newer ones replace.
    pub partial: Option<u32>,
    json: String,
}

impl Preview {
    /// Serialises the preview after `step` of `steps`.
    pub fn new(attempt: u32, step: u32, steps: u32, image: Image) -> Self {
        Self { step, partial: None, json: Event::Preview { attempt, step, steps, image }.to_json() }
    }

    /// Serialises the partial picture `index`, which is the preview after `step` of `steps`.
    pub fn partial(attempt: u32, index: u32, step: u32, steps: u32, image: Image) -> Self {
        let event = Event::Partial { attempt, index, step, steps, image };
        Self { step, partial: Some(index), json: event.to_json() }
    }

    /// The event with its number.
    pub fn frame(&self, seq: Seq) -> Frame {
        let kind = if self.partial.is_some() { EventKind::Partial } else { EventKind::Preview };
        Frame::from_json(seq, kind, &self.json)
    }
}

/// The event of a job's log that is read together with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The terminal event, if the job has ended. Then the state has the job's prompt too.
    End,
    /// The newest event.
    Newest,
}

/// The end of a job by its worker, serialised once.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    status: Status,
    kind: EventKind,
    json: String,
}

impl Ending {
    /// The job has its pictures.
    pub fn completed(images: Vec<Image>, seed: u64, timings: Timings, warnings: Vec<Warning>) -> Self {
        Self::completed_at(None, images, (seed, Vec::new()), timings, warnings)
    }

    /// The job has its pictures, each with its own seed. `seeds` has as many as there are pictures.
    pub fn completed_of_each(
        images: Vec<Image>,
        seeds: Vec<u64>,
        timings: Timings,
        warnings: Vec<Warning>,
    ) -> Self {
        let seed = seeds.first().copied().unwrap_or_default();
        Self::completed_at(None, images, (seed, seeds), timings, warnings)
    }

    /// The same, after this step if it was finished early. The seed of the job, and one for each picture if it has them.
    pub fn completed_at(
        finished_at_step: Option<u32>,
        images: Vec<Image>,
        (seed, seeds): (u64, Vec<u64>),
        timings: Timings,
        warnings: Vec<Warning>,
    ) -> Self {
        let event = Event::Completed { images, seed, seeds, finished_at_step, timings, warnings };
        Self::of(Status::Completed, &event)
    }

    /// The job failed.
    pub fn failed(code: FailureCode, message: String) -> Self {
        Self::of(Status::Failed, &Event::Failed { code, message })
    }

    fn of(status: Status, event: &Event) -> Self {
        Self { status, kind: event.kind(), json: event.to_json() }
    }

    /// `Completed` or `Failed`.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The event with its number.
    pub fn frame(&self, seq: Seq) -> Frame {
        Frame::from_json(seq, self.kind, &self.json)
    }
}
