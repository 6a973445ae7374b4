//! Why a command has no answer.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::StoreError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection.
    #[error("{0}")]
    Away(String),
    /// The server, or the connection to it, refused.
    #[error(transparent)]
    Redis(RedisError),
}

impl Failure {
    /// Whether the server does not know the script (any more).
    pub(super) fn is_noscript(&self) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// Whether the server has no memory for what is not necessary.
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
            Failure::Away(why) => Self::Unavailable(why),
            // What another version of this program, or another program, left under our names, or a defect in a
            // script: a retry would not help. All else (unreachable, loading, read-only, full, busy, a right that
            // was taken away) passes.
            Failure::Redis(error) => match (error.kind(), error.code()) {
                _ if is_about_rights(&error) || is_full_of_clients(&error) => {
                    Self::Unavailable(error.to_string())
                }
                (_, Some("WRONGPASS")) => {
                    Self::Unavailable(format!("Password authentication failed: {error}"))
                }
                (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
                    // The library's text repeats what was answered, and that may hold a request.
                    Self::Corrupt(error.category().to_owned())
                }
                (ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot), _)
                | (_, Some("WRONGTYPE")) => Self::Corrupt(error.to_string()),
                _ => Self::Unavailable(error.to_string()),
            },
        }
    }
}

/// Whether the server says that this user may not do it, by itself or within a script.
pub(super) fn is_about_rights(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || error.detail().is_some_and(denies)
}

/// Whether the server takes no more clients. It says so as it says that a command is wrong.
fn is_full_of_clients(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| text.contains("max number of clients"))
}

/// Whether a script's error says that its user may not run a command: Redis 7.0 and 7.2 have each their own words.
pub(super) fn denies(text: &str) -> bool {
    ["NOPERM", "The user executing the script can't", "ACL failure in script"]
        .iter()
        .any(|words| text.contains(words))
}
