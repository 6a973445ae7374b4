//! The shape of a reply, for errors and logs. It does not contain the reply, which may contain a request.

use std::fmt;

use redis::{FromRedisValue, Value};

use crate::error::{StoreError, StoreResult};

/// The first words of script replies. Only these words of a reply are repeated in errors.
pub(super) const REPLY_WORDS: [&str; 27] = [
    "submitted",
    "duplicate",
    "conflict",
    "full",
    "crowded",
    "claimed",
    "none",
    "held",
    "cancelled",
    "lost",
    "finished",
    "seq",
    "released",
    "failed",
    "done",
    "unknown",
    "ended",
    "given_back",
    "nothing",
    "deliver",
    "over",
    "given_up",
    "again",
    "superseded",
    "asked",
    "early",
    "OK",
];

/// A value's type and length, and its first word if it is in the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    kind: &'static str,
    length: usize,
    word: Option<&'static str>,
}

impl Shape {
    /// The shape of a reply.
    pub(super) fn of(value: &Value) -> Self {
        let (kind, length) = match value {
            Value::Nil => ("nil", 0),
            Value::Int(_) => ("an integer", 0),
            Value::BulkString(bytes) => ("a text", bytes.len()),
            Value::SimpleString(text) => ("a status", text.len()),
            Value::Okay => ("a status", 2),
            Value::Array(values) => ("an array", values.len()),
            Value::Map(entries) => ("a map", entries.len()),
            Value::Push { data, .. } => ("a push message", data.len()),
            Value::ServerError(_) => ("an error", 0),
            _ => ("a value of another type", 0),
        };
        let first = match value {
            Value::Array(values) => values.first(),
            _ => None,
        };
        let word = match first {
            Some(Value::BulkString(bytes)) => known(bytes),
            _ => None,
        };
        Self { kind, length, word }
    }

    /// The shape of a text.
    pub(super) fn of_text(text: impl AsRef<[u8]>) -> Self {
        Self { kind: "a text", length: text.as_ref().len(), word: known(text.as_ref()) }
    }
}

fn known(bytes: &[u8]) -> Option<&'static str> {
    REPLY_WORDS.iter().find(|word| word.as_bytes() == bytes).copied()
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of length {}", self.kind, self.length)?;
        match self.word {
            Some(word) => write!(f, " that begins with {word:?}"),
            None => Ok(()),
        }
    }
}

/// The error for a reply that this version cannot read.
pub(super) fn unreadable(what: &str, shape: Shape) -> StoreError {
    StoreError::Corrupt(format!("{what}: {shape}"))
}

/// Converts a reply.
pub(super) fn read_as<T: FromRedisValue>(what: &str, answer: Value) -> StoreResult<T> {
    let shape = Shape::of(&answer);
    // The library's error repeats the reply.
    redis::from_redis_value(answer).map_err(|_| unreadable(what, shape))
}

/// The error for invalid JSON, with its position. serde's text repeats the JSON.
pub(super) fn bad_json(what: &str, error: &serde_json::Error) -> StoreError {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    StoreError::Corrupt(format!("{what}: {kind:?} error in its JSON, line {line} column {column}"))
}
