//! Where Redis is, and under which names a fleet keeps its things there.

use std::{fmt, str::FromStr};

use super::url::{ConfigError, RedisUrl};

/// The part of a program's settings that concerns Redis.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisConfig {
    /// Redis that carries the queue and the events: `redis://USER:PASSWORD@HOST:PORT/DB`, of which all but the
    /// host may be left out; of a Redis Cluster some of its nodes, `redis+cluster://USER:PASSWORD@HOST,HOST:PORT`;
    /// of a master that sentinels watch the sentinels, `redis+sentinel://USER:PASSWORD@HOST,HOST:PORT/SERVICE/DB`,
    /// with `?sentinel_username=…&sentinel_password=…` where they want them. With TLS `rediss` for `redis`.
    #[arg(long, env = "GLIMPSE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<RedisUrl>,

    /// What every key of the fleet begins with: fleets of one Redis differ in it.
    #[arg(long, env = "GLIMPSE_REDIS_PREFIX", default_value = "glimpse", value_name = "NAME")]
    pub redis_prefix: Prefix,
}

/// What every key of a fleet begins with.
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
        // No braces: they would move the hash tag; no colon: it ends the prefix.
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
