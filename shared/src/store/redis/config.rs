//! Where Redis is, and under which names a fleet keeps its things there.

use std::{convert::Infallible, fmt, str::FromStr};

use redis::{ConnectionInfo, IntoConnectionInfo};

/// Where sentinels listen if a URL does not say.
const SENTINELS_PORT: &str = ":26379";

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

/// Settings that no Redis can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// A URL as an operator wrote it. It may hold a password, so it prints without what stands before its `@` or after
/// its `?`, and it is read only by [`RedisStore::connect`](super::RedisStore::connect), whose complaints do not
/// repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Reads the URL.
    pub(super) fn target(&self) -> Result<Target, ConfigError> {
        let read = || -> Result<Target, String> {
            let (scheme, rest) = self.0.split_once("://").ok_or("it is not a URL")?;
            match scheme {
                "redis" | "rediss" => {
                    Ok(Target { like: info(&self.0)?, seeds: Vec::new(), topology: Topology::Server })
                }
                "redis+cluster" => cluster("redis", rest),
                "rediss+cluster" => cluster("rediss", rest),
                "redis+sentinel" => sentinels("redis", rest),
                "rediss+sentinel" => sentinels("rediss", rest),
                _ => {
                    Err("it begins with none of redis://, redis+cluster:// and redis+sentinel://, nor with \
                          rediss for redis"
                        .to_owned())
                }
            }
        };
        read().map_err(|why| ConfigError(format!("--redis-url: {why}")))
    }
}

/// What a URL says.
#[derive(Debug)]
pub(super) struct Target {
    /// How to speak to whoever holds a key; of a single server also where it is.
    pub(super) like: ConnectionInfo,
    /// Whom to ask who that is.
    pub(super) seeds: Vec<ConnectionInfo>,
    pub(super) topology: Topology,
}

/// Who holds which keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// One server holds all.
    Server,
    /// The nodes of a cluster say.
    Cluster,
    /// One server holds all, and the sentinels that watch it under this name say which.
    Sentinel(String),
}

/// `USER:PASSWORD@HOST:PORT,HOST:PORT`
fn cluster(scheme: &str, rest: &str) -> Result<Target, String> {
    let (login, hosts) = login(rest);
    let mut seeds = Vec::new();
    for host in hosts.trim_end_matches('/').split(',') {
        let seed = info(&format!("{scheme}://{login}{host}"))?;
        if seed.redis_settings().db() != 0 {
            return Err("a cluster has no database numbers".to_owned());
        }
        seeds.push(seed);
    }
    // Splitting gives one part at least.
    Ok(Target { like: seeds[0].clone(), seeds, topology: Topology::Cluster })
}

/// `USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB?sentinel_username=…&sentinel_password=…`: hosts are sentinels,
/// user and password the master's.
fn sentinels(scheme: &str, rest: &str) -> Result<Target, String> {
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, rest) = login(rest);
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (service, db) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(
            "it does not say which service the sentinels watch: HOST:PORT,HOST:PORT/SERVICE".to_owned()
        );
    }
    let (mut user, mut password) = ("", "");
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sentinel_username", value)) => user = value,
            Some(("sentinel_password", value)) => password = value,
            _ => return Err("its options are sentinel_username and sentinel_password alone".to_owned()),
        }
    }
    let to_sentinels = match (user, password) {
        ("", "") => String::new(),
        _ => format!("{user}:{password}@"),
    };
    let mut seeds = Vec::new();
    for host in hosts.split(',') {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = if has_port { "" } else { SENTINELS_PORT };
        seeds.push(info(&format!("{scheme}://{to_sentinels}{host}{port}"))?);
    }
    let address = seeds[0].addr().clone();
    let like = info(&format!("{scheme}://{login}host/{db}"))?.set_addr(address);
    Ok(Target { like, seeds, topology: Topology::Sentinel(service.to_owned()) })
}

/// `USER:PASSWORD@`, if it is there, and the rest.
fn login(rest: &str) -> (&str, &str) {
    rest.split_at(rest.rfind('@').map_or(0, |at| at + 1))
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
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("…") };
        let (rest, options) =
            rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
        let (login, place) = login(rest);
        match options {
            // A password that was not written as a URL has it may go on here.
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
