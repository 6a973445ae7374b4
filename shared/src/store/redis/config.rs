//! Where Redis is, and under which names a fleet keeps its things there.

use std::{convert::Infallible, fmt, str::FromStr};

use redis::{ConnectionInfo, IntoConnectionInfo};

/// The part of a program's settings that concerns Redis.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisConfig {
    /// Redis that carries the queue and the events: `redis://USER:PASSWORD@HOST:PORT/DB`, of which all but the
    /// host may be left out; of a Redis Cluster some of its nodes, `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`.
    /// With TLS `rediss://` and `rediss+cluster://`.
    #[arg(long, env = "GLIMPSE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<RedisUrl>,

    /// What every key of the fleet begins with: fleets of one Redis differ in it.
    #[arg(long, env = "GLIMPSE_REDIS_PREFIX", default_value = "glimpse", value_name = "NAME")]
    pub redis_prefix: Prefix,
}

/// Settings that no Redis can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// A URL as an operator wrote it. It may hold a password, so it prints without what stands before its `@`, and
/// it is read only by [`RedisStore::connect`](super::RedisStore::connect), whose complaints do not repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Reads the URL.
    pub(super) fn target(&self) -> Result<Target, ConfigError> {
        let wrong = |why: &str| ConfigError(format!("--redis-url: {why}"));
        let (scheme, rest) = self.0.split_once("://").ok_or_else(|| wrong("it is not a URL"))?;
        let single = match scheme {
            "redis" | "rediss" => {
                let first = info(&self.0).map_err(|why| wrong(&why))?;
                return Ok(Target { first, others: Vec::new(), cluster: false });
            }
            "redis+cluster" => "redis",
            "rediss+cluster" => "rediss",
            _ => {
                return Err(wrong(
                    "it begins with none of redis://, rediss://, redis+cluster:// and rediss+cluster://",
                ));
            }
        };
        let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
        let hosts = hosts.trim_end_matches('/');
        let at = if user.is_empty() { "" } else { "@" };
        let mut seeds = Vec::new();
        for host in hosts.split(',') {
            let seed = info(&format!("{single}://{user}{at}{host}")).map_err(|why| wrong(&why))?;
            if seed.redis_settings().db() != 0 {
                return Err(wrong("a cluster has no database numbers"));
            }
            seeds.push(seed);
        }
        // Splitting gives one part at least.
        let first = seeds.swap_remove(0);
        Ok(Target { first, others: seeds, cluster: true })
    }
}

/// What a URL says: a server, or some nodes of a cluster.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) first: ConnectionInfo,
    pub(super) others: Vec<ConnectionInfo>,
    pub(super) cluster: bool,
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    // The error's detail may quote the URL: its kind is enough.
    url.into_connection_info().map_err(|error| error.category().to_owned() + ": no host, or a malformed part")
}

impl From<&str> for RedisUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl From<String> for RedisUrl {
    fn from(url: String) -> Self {
        Self(url)
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
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, hosts))) => write!(f, "{scheme}://…@{hosts}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
            Err(ConfigError("a prefix is 1 to 64 letters, digits, '-', '_' or '.'".to_owned()))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
