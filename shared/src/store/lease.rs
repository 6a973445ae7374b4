//! What a worker holds and what it says about it.

use std::fmt;

use bytes::Bytes;

use crate::{
    event::{Event, EventKind, FailureCode, Frame, Image, Timings, Warning},
    id::{App, Seq, WorkerId},
    job::{Job, Status},
    needs::Capabilities,
    request::{MAX_IMAGES, MAX_PIXELS},
};

/// A worker's wish for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// Whose queue.
    pub app: App,
    /// What it has loaded, in the words of [`Job::affinity`].
    pub affinity: Option<String>,
    /// What it is capable of: it gets no job that needs more.
    pub capabilities: Capabilities,
    /// Rises by one with each claim that was answered; the same number asks for the same answer again.
    pub number: u64,
}

/// The right to work on a job for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// The job.
    pub job: Job,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Whose try.
    pub worker: WorkerId,
    /// Where an earlier try got to: this one may go on from there.
    pub checkpoint: Option<Checkpoint>,
    /// The newest event's number: while a job runs its worker alone writes, so the next event is this + 1.
    pub(crate) seq: Seq,
}

/// Where an attempt has got to, in the worker's own words: the store keeps it and does not look inside.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint(Bytes);

impl Checkpoint {
    /// The most that is kept: what the largest request needs, with any sampler that is offered. At most five tensors
    /// (the latents, and what UniPC of order 3 remembers of earlier steps), each with four numbers of four bytes for
    /// each latent pixel of [`MAX_IMAGES`] pictures of [`MAX_PIXELS`] pixels; and room for their names.
    pub const MAX_BYTES: usize = 5 * 4 * 4 * MAX_IMAGES as usize * MAX_PIXELS as usize / 64 + (64 << 10);

    /// `None` for what is not kept: more than [`Checkpoint::MAX_BYTES`], or nothing.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::MAX_BYTES).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// What the worker wrote.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({} bytes)", self.0.len())
    }
}

/// A preview, serialised once for log, channel and every follower.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// 0-based index of the step just done.
    pub step: u32,
    json: String,
}

impl Preview {
    /// Serialises the preview after `step` of `steps`.
    pub fn new(attempt: u32, step: u32, steps: u32, image: Image) -> Self {
        Self { step, json: Event::Preview { attempt, step, steps, image }.to_json() }
    }

    /// Numbers it.
    pub fn frame(&self, seq: Seq) -> Frame {
        Frame::from_json(seq, EventKind::Preview, &self.json)
    }
}

/// Which event of a job's log is read together with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The terminal event, if the job has ended.
    End,
    /// The newest event.
    Newest,
}

/// How a worker ends a job, serialised once.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    status: Status,
    kind: EventKind,
    json: String,
}

impl Ending {
    /// With pictures.
    pub fn completed(images: Vec<Image>, seed: u64, timings: Timings, warnings: Vec<Warning>) -> Self {
        Self::of(Status::Completed, &Event::Completed { images, seed, timings, warnings })
    }

    /// Without.
    pub fn failed(code: FailureCode, message: String) -> Self {
        Self::of(Status::Failed, &Event::Failed { code, message })
    }

    fn of(status: Status, event: &Event) -> Self {
        Self { status, kind: event.kind(), json: event.to_json() }
    }

    /// Completed or failed.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Numbers it.
    pub fn frame(&self, seq: Seq) -> Frame {
        Frame::from_json(seq, self.kind, &self.json)
    }
}
