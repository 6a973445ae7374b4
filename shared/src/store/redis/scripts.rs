//! The Lua scripts, their calls and their replies.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use redis::{Cmd, Value};

use super::{
    failure::Failure,
    nodes::{Nodes, replicas_with},
    pool::Pooled,
    shape::{Shape, read_as, unreadable},
};
use crate::{
    error::{StoreError, StoreResult},
    id::{JobId, Micros, Seq},
    job::Status,
    store::{Checkpoint, transition::ReapOutcome},
    webhook::Settled,
};

/// A Lua script: the first line of its file (the flags), the included files, and the rest of its file.
pub(super) struct Script {
    code: String,
    sha: String,
}

impl Script {
    fn new(shared: &[&str], own: &str) -> Self {
        let (flags, body) = own.split_once('\n').unwrap_or((own, ""));
        let code = format!("{flags}\n{}\n{body}", shared.concat());
        let sha = redis::Script::new(&code).get_hash().to_owned();
        Self { code, sha }
    }

    /// The code for the server.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Begins a call. The keys must be those in the script's header, in that order.
    pub(super) fn keys(&'static self, keys: impl Into<Vec<String>>) -> Call<'static> {
        Call { script: self, keys: keys.into(), args: Vec::new() }
    }
}

const SHARED: &str = include_str!("lua/shared.lua");
const WAITING: &str = include_str!("lua/waiting.lua");
const PACE: &str = include_str!("lua/pace.lua");
const FAIR: &str = include_str!("lua/fair.lua");
const ENTER: &str = include_str!("lua/enter.lua");
const CHOOSE: &str = include_str!("lua/choose.lua");
const FENCE: &str = include_str!("lua/fence.lua");
const GIVE_BACK: &str = include_str!("lua/give_back.lua");
const PLACES: &str = include_str!("lua/places.lua");
const SETTLE: &str = include_str!("lua/settle.lua");

macro_rules! scripts {
    ($($constant:ident = $name:literal $(+ $shared:ident)*;)+) => {
        $(pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&[SHARED $(, $shared)*], include_str!(concat!("lua/", $name, ".lua")))
        });)+
    };
}

scripts! {
    SUBMIT = "submit" + WAITING + PACE + PLACES + FAIR + ENTER;
    RETRY = "retry" + WAITING + PACE + PLACES + FAIR + ENTER;
    ACTIVE = "active" + PLACES;
    CLAIM = "claim" + WAITING + FAIR + CHOOSE;
    WAKE = "wake" + WAITING;
    RENEW = "renew" + FENCE;
    CHECKPOINT = "checkpoint" + FENCE;
    PUBLISH = "publish" + FENCE;
    FINISH = "finish" + FENCE + PACE;
    RELEASE = "release" + WAITING + FENCE + GIVE_BACK;
    CANCEL = "cancel";
    FINISH_EARLY = "finish_early";
    REAP = "reap" + WAITING + GIVE_BACK;
    DUE = "due";
    DROP = "drop";
    NOW = "now";
    DELIVER = "deliver" + SETTLE;
    REPORT = "report" + SETTLE;
    DEAD = "dead";
    FORGET = "forget";
    LIST = "list";
    POSITIONS = "positions";
    LINE = "line" + PACE;
    STATUS = "status";
    READ = "read";
    HEARTBEAT = "heartbeat";
    WORKERS = "workers";
    SECRET = "secret";
    TRIAL = "trial";
    FORMAT = "format";
}

/// A script with its keys and arguments.
pub(super) struct Call<'a> {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Cow<'a, [u8]>>,
}

impl<'a> Call<'a> {
    /// Adds a text argument.
    pub(super) fn text<'b>(self, text: &'b str) -> Call<'b>
    where
        'a: 'b,
    {
        self.bytes(text.as_bytes())
    }

    /// Adds an argument of raw bytes.
    pub(super) fn bytes<'b>(self, bytes: &'b [u8]) -> Call<'b>
    where
        'a: 'b,
    {
        let mut call: Call<'b> = self;
        call.args.push(Cow::Borrowed(bytes));
        call
    }

    /// Adds a number or an id.
    pub(super) fn value(mut self, value: impl ToString) -> Self {
        self.args.push(Cow::Owned(value.to_string().into_bytes()));
        self
    }

    /// Adds the argument `now`: a test's time, or the empty string for the server's time.
    pub(super) fn now(self, now: Option<Micros>) -> Self {
        match now {
            Some(now) => self.value(now.0),
            None => self.value(""),
        }
    }

    /// Runs a script whose reply is data.
    pub(super) async fn read(self, nodes: &Nodes) -> StoreResult<Value> {
        Ok(self.query(nodes).await?)
    }

    /// Runs a script that may create a job. If it does, waits on the same connection until `wanted` replicas have the
    /// job, at most a second, and returns how many have it.
    pub(super) async fn run_replicated(self, nodes: &Nodes, wanted: u32) -> StoreResult<(ScriptReply, u32)> {
        let (answer, mut connection) = self.query_through(nodes).await?;
        match decode(answer)? {
            made @ ScriptReply::Submitted { .. } if wanted > 0 => {
                Ok((made, replicas_with(&mut connection, wanted).await?))
            }
            other => Ok((other, 0)),
        }
    }

    /// The same as [`Call::read`], with the server's own error.
    pub(super) async fn query(&self, nodes: &Nodes) -> Result<Value, Failure> {
        self.query_through(nodes).await.map(|(answer, _)| answer)
    }

    async fn query_through(&self, nodes: &Nodes) -> Result<(Value, Pooled), Failure> {
        // Every script has a key.
        let first = self.keys.first().map_or("", String::as_str);
        match nodes.query_through(first, &self.command("EVALSHA", &self.script.sha)).await {
            // The server does not know the script: EVAL sends the code, which the server then keeps.
            Err(failure) if failure.is_noscript() => {
                nodes.query_through(first, &self.command("EVAL", &self.script.code)).await
            }
            answered => answered,
        }
    }

    /// Runs a script whose reply is a [`ScriptReply`].
    pub(super) async fn run(self, nodes: &Nodes) -> StoreResult<ScriptReply> {
        decode(self.read(nodes).await?)
    }

    /// The same; `None` if the server did not run it because its memory is full.
    pub(super) async fn run_if_room(self, nodes: &Nodes) -> StoreResult<Option<ScriptReply>> {
        match self.query(nodes).await {
            Err(failure) if failure.is_full() => Ok(None),
            answered => decode(answered?).map(Some),
        }
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for arg in &self.args {
            command.arg(&**arg);
        }
        command
    }
}

/// The replies of all scripts. A script's header lists its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ScriptReply {
    Submitted {
        position: u64,
    },
    Duplicate,
    Conflict,
    Full {
        waiting: u64,
        pace: Option<Duration>,
    },
    Crowded {
        unfinished: u64,
        pace: Option<Duration>,
    },
    Claimed {
        job: String,
        attempt: u32,
        seq: Seq,
        finish_early: Option<u32>,
        checkpoint: Option<Checkpoint>,
    },
    None,
    Held {
        seq: Seq,
        finish_early: Option<u32>,
    },
    Asked,
    TooEarly,
    Cancelled,
    Lost,
    Finished,
    Renumber {
        next: Seq,
    },
    Released,
    /// The job was released and has failed: that was its last attempt.
    Failed,
    AlreadyDone(Status),
    Unknown,
    Reaped {
        outcome: ReapOutcome,
        now: Micros,
    },
    Deliver {
        id: JobId,
        number: u32,
        webhook: String,
    },
    Settled(Settled),
    Done,
}

/// Reads the reply of a script.
pub(super) fn decode(answer: Value) -> StoreResult<ScriptReply> {
    let shape = Shape::of(&answer);
    let Value::Array(mut answer) = answer else { return Err(unreadable("an outcome", shape)) };
    // The checkpoint is the only part that is not text.
    let checkpoint = match answer.get(5) {
        Some(Value::BulkString(_)) => answer.pop(),
        _ => None,
    };
    let words: Vec<String> = read_as("an outcome", Value::Array(answer))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["submitted", position] => ScriptReply::Submitted { position: number(position)? },
        ["duplicate"] => ScriptReply::Duplicate,
        ["conflict"] => ScriptReply::Conflict,
        ["full", waiting] => ScriptReply::Full { waiting: number(waiting)?, pace: None },
        ["full", waiting, pace] => {
            ScriptReply::Full { waiting: number(waiting)?, pace: Some(Duration::from_micros(number(pace)?)) }
        }
        ["crowded", unfinished] => ScriptReply::Crowded { unfinished: number(unfinished)?, pace: None },
        ["crowded", unfinished, pace] => ScriptReply::Crowded {
            unfinished: number(unfinished)?,
            pace: Some(Duration::from_micros(number(pace)?)),
        },
        ["claimed", job, attempt, seq, early] => ScriptReply::Claimed {
            job: job.to_owned(),
            attempt: number(attempt)?,
            seq: Seq(number(seq)?),
            finish_early: if early.is_empty() { None } else { Some(number(early)?) },
            checkpoint: match checkpoint {
                Some(Value::BulkString(bytes)) => Checkpoint::new(bytes),
                _ => None,
            },
        },
        ["none"] => ScriptReply::None,
        ["held", seq] => ScriptReply::Held { seq: Seq(number(seq)?), finish_early: None },
        ["held", seq, early] => {
            ScriptReply::Held { seq: Seq(number(seq)?), finish_early: Some(number(early)?) }
        }
        ["asked"] => ScriptReply::Asked,
        ["early"] => ScriptReply::TooEarly,
        ["cancelled"] => ScriptReply::Cancelled,
        ["lost"] => ScriptReply::Lost,
        ["finished"] => ScriptReply::Finished,
        ["seq", next] => ScriptReply::Renumber { next: Seq(number(next)?) },
        ["released"] => ScriptReply::Released,
        ["failed"] => ScriptReply::Failed,
        ["done", status] => {
            let status = Status::parse(status);
            ScriptReply::AlreadyDone(status.ok_or_else(|| unreadable("a status", shape))?)
        }
        ["unknown"] => ScriptReply::Unknown,
        ["ended", now] => ScriptReply::Reaped { outcome: ReapOutcome::Ended, now: Micros(number(now)?) },
        ["given_back", now] => {
            ScriptReply::Reaped { outcome: ReapOutcome::GivenBack, now: Micros(number(now)?) }
        }
        ["nothing", now] => ScriptReply::Reaped { outcome: ReapOutcome::Nothing, now: Micros(number(now)?) },
        ["deliver", id, try_number, webhook] => {
            ScriptReply::Deliver { id: number(id)?, number: number(try_number)?, webhook: webhook.to_owned() }
        }
        ["over"] => ScriptReply::Settled(Settled::Over),
        ["given_up"] => ScriptReply::Settled(Settled::GivenUp),
        ["again", at] => ScriptReply::Settled(Settled::Again { at: Micros(number(at)?) }),
        ["superseded"] => ScriptReply::Settled(Settled::Superseded),
        ["done"] => ScriptReply::Done,
        _ => return Err(unreadable("an outcome", shape)),
    })
}

/// Parses a number, id or name in a reply.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> StoreResult<T> {
    text.parse().map_err(|_| unreadable("a number, id or name", Shape::of_text(text)))
}

/// The error for a reply that belongs to another script.
pub(super) fn unexpected<T>(outcome: ScriptReply) -> StoreResult<T> {
    // Only the name: the rest may contain a request.
    let outcome = format!("{outcome:?}");
    let name = outcome.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    Err(StoreError::Corrupt(format!("unexpected script reply {name}")))
}
