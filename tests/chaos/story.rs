//! Everything that was observed of a job.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use glimpse_shared::{
    event::{Event, Image},
    id::Seq,
    job::Status,
};
use glimpse_test_support::history::{Entry, History, Violation};

use crate::{hooks::Hook, release::previous};

/// The end that a request must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// Its pictures.
    #[default]
    Innocent,
    /// As innocent, but a client may cancel it.
    Unwanted,
    /// `attempts_exhausted`: every attempt faults.
    Poison,
    /// `bad_request`.
    Refused,
}

/// What must be equal for equal requests: the file, but between two releases only its pixels, because releases write
/// other words into files.
fn picture(picture: &Image) -> Vec<u8> {
    let pixels = || Some(image::load_from_memory(&picture.decode()?).ok()?.to_rgb8().into_raw());
    let pixels = previous().and_then(|_| pixels());
    pixels.unwrap_or_else(|| picture.url.clone().into_bytes())
}

/// The parts of an event that the rules check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub seq: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Queued,
    Started {
        attempt: u32,
        worker: String,
    },
    Preview {
        attempt: u32,
        step: u32,
    },
    /// With a hash of the pictures.
    Completed(u64),
    /// With a hash of the pictures, and the last step that was made.
    FinishedEarly {
        pictures: u64,
        step: u32,
    },
    Failed(&'static str),
    Cancelled(&'static str),
}

impl Seen {
    /// `None` for data that is not one of our events.
    pub fn read(seq: &str, json: &str) -> Option<Self> {
        let what = match serde_json::from_str(json).ok()? {
            Event::Queued { .. } => What::Queued,
            Event::Started { attempt, worker } => {
                What::Started { attempt, worker: worker.as_str().to_owned() }
            }
            Event::Preview { attempt, step, .. } | Event::Partial { attempt, step, .. } => {
                What::Preview { attempt, step }
            }
            Event::Completed { images, finished_at_step, .. } => {
                let mut hasher = DefaultHasher::new();
                images.iter().for_each(|image| picture(image).hash(&mut hasher));
                let pictures = hasher.finish();
                finished_at_step
                    .map_or(What::Completed(pictures), |step| What::FinishedEarly { pictures, step })
            }
            Event::Failed { code, .. } => What::Failed(code.as_str()),
            Event::Cancelled { by } => What::Cancelled(by.as_str()),
        };
        Some(Self { seq: seq.parse().ok()?, what })
    }

    /// Appends it to a history.
    pub fn follows(&self, history: &mut History) -> Vec<Violation> {
        history.hear(Seq(self.seq), self.entry())
    }

    fn entry(&self) -> Entry {
        match self.what {
            What::Queued => Entry::Queued,
            What::Started { attempt, .. } => Entry::Started { attempt },
            What::Preview { attempt, step } => Entry::Preview { attempt, step },
            What::Completed(_) | What::FinishedEarly { .. } => Entry::Ended(Status::Completed),
            What::Failed(_) => Entry::Ended(Status::Failed),
            What::Cancelled(_) => Entry::Ended(Status::Cancelled),
        }
    }

    pub fn is_terminal(&self) -> bool {
        self.status().is_some()
    }

    /// The status of a job that ended with this event.
    pub fn status(&self) -> Option<&'static str> {
        match self.entry() {
            Entry::Ended(status) => Some(status.as_str()),
            _ => None,
        }
    }
}

/// What one follower received, over all its connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Follow {
    pub heard: Vec<Heard>,
    /// It followed until the end or until its timeout: it must have received the terminal event.
    pub stayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Event(Seen),
    Gap,
    /// The connection ended; the next one resumes from the cursor.
    Again,
}

impl Follow {
    pub fn events(&self) -> impl Iterator<Item = &Seen> {
        self.heard.iter().filter_map(|heard| match heard {
            Heard::Event(seen) => Some(seen),
            Heard::Gap | Heard::Again => None,
        })
    }
}

/// What the store had of a job after its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// From `GET /v1/jobs/{id}`.
    pub status: Option<String>,
    /// The log itself.
    pub log: Vec<Seen>,
    /// What a client receives that follows from the beginning, after the end.
    pub late: Vec<Seen>,
}

/// Everything about one job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Story {
    pub fate: Fate,
    /// App and body: jobs with the same request have the same pictures.
    pub request: Option<String>,
    /// Every entry that its log ever had, as Redis wrote them.
    pub watched: Vec<Seen>,
    pub follows: Vec<Follow>,
    /// The statuses that DELETE returned.
    pub cancel_answers: Vec<String>,
    /// The statuses that the requests to finish it early returned.
    pub finish_answers: Vec<u16>,
    pub audit: Option<Audit>,
}

/// Everything about a run.
#[derive(Debug, Default)]
pub struct World {
    pub stories: BTreeMap<String, Story>,
    /// How often the watcher may have missed events.
    pub blinks: usize,
    /// Workers that a fault hit and that may have lost an attempt.
    pub struck: BTreeSet<String>,
    /// The job ids that were returned for each idempotency key.
    pub keys: BTreeMap<String, BTreeSet<String>>,
    /// On the dead list at the end.
    pub dead: BTreeSet<String>,
    /// Retried jobs, and the new job's id from each request to retry.
    pub retried: BTreeMap<String, BTreeSet<String>>,
    /// The accepted webhooks, by their paths at the receiver.
    pub hooks: BTreeMap<String, Hook>,
    /// When faults hit an API, a connection to Redis or Redis itself, since the start of the run.
    pub disturbed: Vec<(Duration, Duration)>,
    /// The entries left in `due`, `hooks` and the queues.
    pub left: Vec<String>,
    /// Keys without a time to live that should have one.
    pub immortal: Vec<String>,
    /// Processes that panicked, or ended without a signal from the test.
    pub broken: Vec<String>,
    /// How a job of each app ended that was submitted after the run.
    pub fresh: BTreeMap<String, String>,
}
