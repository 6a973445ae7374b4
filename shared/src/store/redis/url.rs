//! The URL of Redis, and its form without passwords.

use std::{convert::Infallible, fmt, str::FromStr};

use super::target::{self, Target};

/// Invalid Redis settings, or settings that do not match the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    pub(super) fn of_url(why: impl fmt::Display) -> Self {
        Self(format!("--redis-url: {why}"))
    }
}

/// A URL as an operator wrote it. It may contain a password: `Display` and `Debug` leave out the parts before `@` and
/// after `?`. Only [`RedisStore::connect`](super::RedisStore::connect) reads it, and its errors do not repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Reads the URL.
    pub(super) fn target(&self) -> Result<Target, ConfigError> {
        target::parse(&self.0).map_err(ConfigError::of_url)
    }
}

impl From<&str> for RedisUrl {
    fn from(url: &str) -> Self {
        // A URL from a file usually ends with a line break.
        Self(url.trim().to_owned())
    }
}

impl From<String> for RedisUrl {
    fn from(url: String) -> Self {
        (&*url).into()
    }
}

impl FromStr for RedisUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(url.into())
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("…") };
        let (rest, options) =
            rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
        let (login, place) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        match options {
            // A password that is not percent-encoded may continue after the ?.
            Some(options) if options.contains('@') => return write!(f, "{scheme}://…"),
            _ => write!(f, "{scheme}://{}{place}", if login.is_empty() { "" } else { "…@" })?,
        }
        f.write_str(if options.is_some() { "?…" } else { "" })
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
