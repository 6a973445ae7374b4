//! The events of a job, as its followers receive them.
//!
//! An event is serialised once, by its writer, and then passed on as a [`Frame`]: the log, the channel and the SSE
//! relay use the same bytes.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{Seq, WorkerId};

/// An event of a job. Completed, failed and cancelled are terminal: a job has exactly one of them, as its last event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = JobEvent)]
pub enum Event {
    /// The job is queued; `position` jobs are ahead of it.
    Queued {
        /// How many waiting jobs are served first.
        position: u64,
    },
    /// A worker has claimed the job.
    Started {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The worker; an id of `/v1/workers`.
        worker: WorkerId,
    },
    /// A preview of the picture.
    Preview {
        /// The attempt that made it.
        attempt: u32,
        /// The 0-based index of the last denoising step.
        #[schema(maximum = 49)]
        step: u32,
        /// The number of steps.
        #[schema(maximum = 50)]
        steps: u32,
        /// A JPEG of the first picture of the job.
        image: Image,
    },
    /// A preview that is kept: no newer one replaces it, and it can be read until the job is deleted. A job has at most
    /// one of each index, by any attempt. Only a job that asks for partial pictures has them.
    Partial {
        /// The attempt that made it.
        attempt: u32,
        /// Its place among the job's partial pictures, from 0.
        #[schema(maximum = 2)]
        index: u32,
        /// The 0-based index of the last denoising step.
        #[schema(maximum = 49)]
        step: u32,
        /// The number of steps.
        #[schema(maximum = 50)]
        steps: u32,
        /// A JPEG of the first picture of the job.
        image: Image,
    },
    /// The pictures are finished.
    Completed {
        /// The final pictures.
        #[schema(max_items = 4)]
        images: Vec<Image>,
        /// The seed that gives these pictures again.
        #[schema(maximum = 9007199254740992i64)]
        seed: u64,
        /// The seed of each picture, if the request gave them. The first is `seed`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(max_items = 4)]
        seeds: Vec<u64>,
        /// The last step that was made, counted from 0, if the job was finished early.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false, maximum = 298)]
        finished_at_step: Option<u32>,
        /// How long each part took.
        timings: Timings,
        /// The parts of the request that had no effect.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Warning>,
    },
    /// The job ended without pictures.
    Failed {
        /// Why, for programs.
        code: FailureCode,
        /// Why, for people.
        message: String,
    },
    /// The job was cancelled.
    Cancelled {
        /// Who.
        by: CancelledBy,
    },
}

/// Seconds spent on a job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// From the claim to the last denoising step.
    pub inference: f64,
    /// Decoding and encoding the final pictures.
    pub decode: f64,
}

/// Something that the client should know about its pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// The machine-readable code.
    // Releases add codes: a client should accept any word.
    #[schema(value_type = String, examples("prompt_truncated", "prompt_not_expanded"))]
    pub code: WarningCode,
    /// The human-readable message.
    pub message: String,
}

/// The code of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// The end of a prompt had no effect: the model's text encoders read a limited number of tokens.
    PromptTruncated,
    /// `expand_prompt` had no effect: nothing here expands a prompt.
    PromptNotExpanded,
    /// The words that were trained with a LoRA, and are in its file, had no effect.
    LoraEmbeddingsIgnored,
    /// The aesthetic scores had no effect: no model of the job is told them.
    ScoresIgnored,
    /// A ControlNet had no effect: no step is in its window.
    ControlnetIgnored,
    /// An embedding had no effect: its words stand in no prompt, or the model has no text encoder for its vectors.
    EmbeddingIgnored,
    /// A code of a newer release.
    #[serde(other)]
    Unknown,
}

/// Why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// Every allowed attempt was lost or faulty.
    AttemptsExhausted,
    /// No worker claimed it in time.
    StartTimeout,
    /// It did not finish in time.
    RunTimeout,
    /// The store has lost the job.
    JobLost,
    /// The model cannot serve this request.
    BadRequest,
    /// The operator does not allow one of its pictures to be shown.
    ContentPolicyViolation,
    /// An internal error, and every code that only a newer release knows.
    #[serde(other)]
    Internal,
}

impl FailureCode {
    /// The code in JSON and in scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::StartTimeout => "start_timeout",
            Self::RunTimeout => "run_timeout",
            Self::JobLost => "job_lost",
            Self::BadRequest => "bad_request",
            Self::ContentPolicyViolation => "content_policy_violation",
            Self::Internal => "internal",
        }
    }
}

/// Who cancelled a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    /// A client that has the job's id.
    Client,
    /// The connection that waited for it closed.
    Disconnect,
    /// The operator of the fleet, and whoever only a newer release knows.
    #[serde(other)]
    Operator,
}

impl CancelledBy {
    /// The word in JSON and in scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Disconnect => "disconnect",
            Self::Operator => "operator",
        }
    }
}

/// A picture inside an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// `data:<content_type>;base64,…`, or `/files/NAME` for a final picture that is kept elsewhere
    /// ([`Name::url`](crate::results::Name::url)). An API puts its own address before that.
    pub url: String,
    /// The media type.
    pub content_type: String,
    /// Pixels.
    #[schema(maximum = 2048)]
    pub width: u32,
    /// Pixels.
    #[schema(maximum = 2048)]
    pub height: u32,
}

impl Image {
    /// Wraps an encoded picture.
    pub fn new(content_type: &str, width: u32, height: u32, encoded: &[u8]) -> Self {
        let mut url = format!("data:{content_type};base64,");
        STANDARD.encode_string(encoded, &mut url);
        Self { url, content_type: content_type.to_owned(), width, height }
    }

    /// The encoded picture in base64; `None` if the URL is not the data URI of [`Image::new`].
    pub fn base64(&self) -> Option<&str> {
        let (_, data) = self.url.strip_prefix("data:")?.split_once(";base64,")?;
        Some(data)
    }

    /// The encoded picture; `None` if the URL is not the data URI of [`Image::new`].
    pub fn decode(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.base64()?).ok()
    }
}

impl Event {
    /// The event as ASCII JSON. Other characters are escaped: fal's JavaScript client breaks a UTF-8 character that is
    /// split between two TCP segments.
    pub fn to_json(&self) -> String {
        ascii_json(self)
    }

    /// The event's kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Queued { .. } => EventKind::Queued,
            Self::Started { .. } => EventKind::Started,
            Self::Preview { .. } => EventKind::Preview,
            Self::Partial { .. } => EventKind::Partial,
            Self::Completed { .. } => EventKind::Completed,
            Self::Failed { .. } => EventKind::Failed,
            Self::Cancelled { .. } => EventKind::Cancelled,
        }
    }
}

/// The `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// See [`Event::Queued`].
    Queued,
    /// See [`Event::Started`].
    Started,
    /// See [`Event::Preview`].
    Preview,
    /// See [`Event::Partial`].
    Partial,
    /// See [`Event::Completed`].
    Completed,
    /// See [`Event::Failed`].
    Failed,
    /// See [`Event::Cancelled`].
    Cancelled,
}

impl EventKind {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Started,
        Self::Preview,
        Self::Partial,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in JSON's `type` and SSE's `event:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Preview => "preview",
            Self::Partial => "partial",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether an event of this kind is the last one of its job.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Reads the kind without parsing the JSON: `type` is always the first member.
    fn of(json: &[u8]) -> Option<Self> {
        let rest = json.strip_prefix(br#"{"type":""#)?;
        let word = &rest[..rest.iter().position(|&b| b == b'"')?];
        Self::ALL.into_iter().find(|kind| kind.as_str().as_bytes() == word)
    }
}

/// A numbered, serialised event: `<seq> <json>`, as in the log and on the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The event's number.
    pub seq: Seq,
    /// The event's kind.
    pub kind: EventKind,
    bytes: Bytes,
    json_at: usize,
}

impl Frame {
    /// Numbers and serialises an event.
    pub fn new(seq: Seq, event: &Event) -> Self {
        Self::from_json(seq, event.kind(), &event.to_json())
    }

    /// Numbers an event that is serialised already.
    pub fn from_json(seq: Seq, kind: EventKind, json: &str) -> Self {
        let head = format!("{seq} ");
        let json_at = head.len();
        Self { seq, kind, bytes: Bytes::from(head + json), json_at }
    }

    /// Reads `<seq> <json>`; `None` for other bytes.
    pub fn parse(bytes: Bytes) -> Option<Self> {
        // The longest number has 20 digits.
        let space = bytes.iter().take(21).position(|&b| b == b' ')?;
        let seq = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let kind = EventKind::of(&bytes[space + 1..])?;
        Some(Self { seq: Seq(seq), kind, bytes, json_at: space + 1 })
    }

    /// `<seq> <json>`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The event's JSON, sharing the frame's memory.
    pub fn json(&self) -> Bytes {
        self.bytes.slice(self.json_at..)
    }

    /// Parses the event; `None` if this version does not know it.
    pub fn event(&self) -> Option<Event> {
        serde_json::from_slice(&self.bytes[self.json_at..]).ok()
    }
}

/// What a follower receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The next event. Its seq may be above the last + 1 if the log no longer holds the events in between.
    Frame(Frame),
    /// The store lost writes: the next seqs are lower than the received ones.
    Gap,
    /// The job is gone without a terminal event; nothing follows. The API sends `failed` with the code `job_lost`.
    Lost,
}

/// Serialises to ASCII JSON.
pub fn ascii_json<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Ascii);
    // Serialising our own types into memory cannot fail: all map keys are strings.
    let done = value.serialize(&mut serializer);
    debug_assert!(done.is_ok());
    String::from_utf8(out).unwrap_or_default()
}

struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}
