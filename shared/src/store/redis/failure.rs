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
                _ if is_about_rights(&error) || is_full_of_clients(&error) => {
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

/// Whether the server has reached its limit of clients. The error has the general code ERR.
fn is_full_of_clients(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| text.contains("max number of clients"))
}

/// Whether a script's error is about the user's rights. Redis 7.0 and 7.2 use different texts.
pub(super) fn denies(text: &str) -> bool {
    ["NOPERM", "The user executing the script can't", "ACL failure in script"]
        .iter()
        .any(|words| text.contains(words))
}
