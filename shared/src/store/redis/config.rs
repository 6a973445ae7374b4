//! The flags for Redis: its URL, and the prefix of a fleet's keys.

use std::{fmt, str::FromStr};

use super::url::{ConfigError, RedisUrl};

/// The flags for Redis.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisConfig {
    /// The Redis for the queue and the events: `redis://USER:PASSWORD@HOST:PORT/DB`, of which only the host is
    /// required. For a Redis Cluster some of its nodes, `redis+cluster://USER:PASSWORD@HOST,HOST:PORT`. For a master
    /// with sentinels the sentinels, `redis+sentinel://USER:PASSWORD@HOST,HOST:PORT/SERVICE/DB`, with
    /// `?sentinel_username=…&sentinel_password=…` if they need a login. Write `rediss` instead of `redis` for TLS.
    #[arg(long, env = "GLIMPSE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<RedisUrl>,

    /// The prefix of every key of the fleet: fleets that share a Redis need different prefixes.
    #[arg(long, env = "GLIMPSE_REDIS_PREFIX", default_value = "glimpse", value_name = "NAME")]
    pub redis_prefix: Prefix,
}

/// The prefix of every key of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // Braces would change the hash tag, and a colon ends the prefix.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ConfigError::new("a prefix is 1 to 64 letters, digits, '-', '_' or '.'"))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
