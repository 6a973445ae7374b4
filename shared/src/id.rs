//! Names of apps, jobs, workers and partitions, positions in a log, and points in time. Each is its own type, so that
//! they cannot be confused.

use std::{fmt, str::FromStr};

use clap::builder::{ValueParser, ValueParserFactory};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// The number of hash tags of a fleet's keys. It is part of every job id: never change it.
const PARTITIONS: u8 = 16;

/// A text that is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(String);

/// The name `owner/name` under which a fleet serves one model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
pub struct App(String);

impl App {
    /// The whole name, `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition of the app's queue and jobs. All their keys have its hash tag and so are in one slot.
    pub fn partition(&self) -> Partition {
        Partition(Sha256::digest(self.0.as_bytes())[0] % PARTITIONS)
    }
}

impl FromStr for App {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let part = |part: &str| {
            (1..=64).contains(&part.len())
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        match text.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => Ok(Self(text.to_owned())),
            _ => Err(InvalidId(
                "an app is OWNER/NAME, each of 1 to 64 letters, digits, '-', '_' or '.', the first a letter or digit"
                    .to_owned(),
            )),
        }
    }
}

impl TryFrom<String> for App {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<App> for String {
    fn from(app: App) -> Self {
        app.0
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What cannot be the owner of an app: the paths that begin with it are other routes of the API, on every host.
pub const RESERVED_OWNERS: [&str; 9] =
    ["v1", "files", "health", "metrics", "playground", "docs", "openapi.json", "queue", "api"];

/// An app in a flag. The type itself has no such rule: an old job may have such an app.
impl ValueParserFactory for App {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        ValueParser::new(|text: &str| {
            let app: Self = text.parse()?;
            match text.split_once('/') {
                Some((owner, _)) if RESERVED_OWNERS.contains(&owner) => Err(InvalidId(format!(
                    "an app cannot have the owner {owner}, because the API has other routes there: choose another owner"
                ))),
                _ => Ok(app),
            }
        })
    }
}

/// One of the 16 hash tags; see the layout in `store::redis::keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

impl Partition {
    /// Every partition, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job's id. Its last byte repeats the partition of the job's app, so that any process finds the job's keys with only
/// the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid")]
pub struct JobId(Uuid);

impl JobId {
    /// A new id (UUIDv7) for a job of `app`.
    pub fn new(app: &App) -> Self {
        Self::stamped(Uuid::now_v7().into_bytes(), app)
    }

    /// The id (UUIDv8) for `caller`'s idempotency `key` and `app`. Every API computes the same id, so two submits with
    /// the same key give one job. Keys are often easy to guess (`1`, `test`), and the id gives access to the job: so
    /// the id also depends on the fleet's `secret`.
    pub fn from_key(secret: &KeySecret, app: &App, caller: &str, key: &str) -> Self {
        let mut hash = Sha256::new().chain_update(secret.0);
        // The lengths make the bytes of two different (app, caller, key) different.
        for part in [app.as_str(), caller, key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self::stamped(Uuid::new_v8(bytes).into_bytes(), app)
    }

    /// The id (UUIDv8) of this job's retry: the same one for every retry.
    pub fn retried(&self) -> Self {
        let digest: [u8; 32] = Sha256::new().chain_update("retry").chain_update(self.0).finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let mut bytes = Uuid::new_v8(bytes).into_bytes();
        bytes[15] = self.0.as_bytes()[15];
        Self(Uuid::from_bytes(bytes))
    }

    /// A v7 id with a given time and random part, for tests that compare two stores.
    pub fn from_parts(app: &App, millis: u64, random: u64) -> Self {
        let mut tail = [0; 10];
        tail[..8].copy_from_slice(&random.to_be_bytes());
        Self::stamped(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid().into_bytes(), app)
    }

    fn stamped(mut bytes: [u8; 16], app: &App) -> Self {
        bytes[15] = app.partition().0;
        Self(Uuid::from_bytes(bytes))
    }

    /// The partition of the job's keys; `None` for an id that no job of ours can have.
    pub fn partition(&self) -> Option<Partition> {
        let last = self.0.as_bytes()[15];
        (last < PARTITIONS).then_some(Partition(last))
    }
}

impl FromStr for JobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // Only the canonical form, because the text is part of keys and channels.
        let id = Uuid::try_parse(text).map(Self).ok().filter(|id| id.to_string() == text);
        id.ok_or_else(|| InvalidId("a job id is a UUID".to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A secret of a fleet, 32 random bytes: the one from which it computes the ids of jobs with keys ([`JobId::from_key`]),
/// or the seed of the key that signs its webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret([u8; 32]);

impl KeySecret {
    /// A new secret.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The form in the store: 64 hexadecimal digits. Use it only there.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for KeySecret {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId("a secret is 64 hexadecimal digits".to_owned());
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let (pairs, rest) = digits.as_deref().ok_or_else(wrong)?.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        let bytes = bytes.try_into().ok().filter(|_| rest.is_empty());
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

/// A worker process, from its start to its end: a restarted worker has a new id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9-]{1,64}$")]
pub struct WorkerId(String);

impl WorkerId {
    /// A new id that begins with `host`, so that a reader of `/v1/workers` knows the machine.
    pub fn new(host: &str) -> Self {
        let host: String =
            host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect::<String>();
        let random = Uuid::new_v4().simple().to_string();
        Self(format!("{}-{}", if host.is_empty() { "worker" } else { &host }, &random[..12]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // Scripts insert worker ids into JSON, so an id must not need an escape.
        if (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId("a worker id is 1 to 64 letters, digits or '-'".to_owned()))
        }
    }
}

impl TryFrom<String> for WorkerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<WorkerId> for String {
    fn from(id: WorkerId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's number in its job's log, from 1, without gaps. As a cursor: the number of the last received event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number of the next event. Saturates: a client may send the largest number as a cursor.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time by the store's clock: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// The time of this process' clock; only for the memory store and for display.
    pub fn system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_micros() as u64)
    }

    /// The point `duration` later.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with microseconds, as the API shows it.
    pub fn rfc3339(self) -> String {
        use time::{OffsetDateTime, format_description::well_known::Rfc3339};
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        app: Option<App>,
    }

    #[test]
    fn an_owner_that_is_a_route_is_refused_in_a_flag_and_readable_in_a_job() {
        for owner in RESERVED_OWNERS {
            let app = format!("{owner}/model");
            let error = Flags::try_parse_from(["x", "--app", &app]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("cannot have the owner {owner},")), "{error}");
            assert!(serde_json::from_value::<App>(app.into()).is_ok());
        }
        for app in ["glimpse/demo", "V1/a", "files2/a"] {
            let flags = Flags::try_parse_from(["x", "--app", app]).unwrap();
            assert_eq!(flags.app.map(String::from).as_deref(), Some(app));
        }
        assert!(Flags::try_parse_from(["x", "--app", "nothing"]).is_err());
    }
}
