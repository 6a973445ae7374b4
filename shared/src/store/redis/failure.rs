//! Why a command failed.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::StoreError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection.
    #[error("{0}")]
    NoConnection(String),
    /// The server returned an error, or the connection failed.
    #[error(transparent)]
    Redis(RedisError),
}

impl Failure {
    /// Whether the server does not have the script.
    pub(super) fn is_noscript(&self) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// Whether the server refused because its memory is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("OOM"))
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoConnection(why) => Self::Unavailable(why),
            // Permanent: our keys have data of another version or program, or a script has a bug. All other errors
            // (unreachable, loading, read-only, full, busy, a revoked right) are temporary.
            Failure::Redis(error) => match (error.kind(), error.code()) {
                (_, Some(_)) if is_about_rights(&error) || error.detail().is_some_and(passes) => {
                    Self::Unavailable(error.to_string())
                }
                (_, Some("WRONGPASS")) => {
                    Self::Unavailable(format!("Password authentication failed: {error}"))
                }
                (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
                    // The library's text repeats the reply, which may contain a request.
                    Self::Corrupt(error.category().to_owned())
                }
                (ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot), _)
                | (_, Some("WRONGTYPE")) => Self::Corrupt(error.to_string()),
                _ => Self::Unavailable(error.to_string()),
            },
        }
    }
}

/// Whether the user has no right to a command, sent by itself or in a script.
pub(super) fn is_about_rights(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || error.detail().is_some_and(denies)
}

/// What a server answered to a command that it will never run: an error with a general code and no temporary cause.
/// Errors with a code of their own (LOADING, BUSY, READONLY, …) may end without a change by an operator.
pub(super) fn refusal(error: &RedisError) -> Option<String> {
    let (code, text) = (error.code()?, error.detail().unwrap_or_default());
    let definite = matches!(code, "ERR" | "NOPROTO" | "CROSSSLOT") && !passes(text);
    definite.then(|| shown(&format!("{code} {text}")))
}

/// Whether an error with a general code has a temporary cause: at a limit of the server or of a proxy, or in a script.
pub(super) fn passes(text: &str) -> bool {
    const CAUSES: [&str; 17] = [
        "max number of clients",
        "max requests limit",
        "limit exceeded",
        "too many",
        "try again",
        "timed out",
        "upstream",
        "temporarily",
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "READONLY",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "NOREPLICAS",
        "MISCONF",
        "OOM",
    ];
    CAUSES.iter().any(|cause| text.contains(cause))
}

/// A server's error as one short line, without the arguments that it repeats.
pub(super) fn shown(error: &str) -> String {
    const LONGEST: usize = 160;
    let error = error.split(", with args").next().unwrap_or_default();
    let words: Vec<_> = error.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}

/// Whether a script's error is about the user's rights. Redis 7.0 and 7.2 use different texts.
pub(super) fn denies(text: &str) -> bool {
    ["NOPERM", "The user executing the script can't", "ACL failure in script"]
        .iter()
        .any(|words| text.contains(words))
}
