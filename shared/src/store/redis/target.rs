//! Parses a URL. Every part is used or rejected. An error does not repeat a part that may be a password.

use std::{collections::BTreeMap, net::Ipv6Addr};

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

/// The default ports of servers and sentinels.
const PORT: u16 = 6379;
const SENTINELS_PORT: u16 = 26_379;

/// The servers that a URL names, and how to connect to them.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// How to connect to a server that holds keys. For a single server this includes its address.
    pub(super) like: ConnectionInfo,
    /// The cluster nodes or the sentinels to ask for the slot map.
    pub(super) seeds: Vec<ConnectionInfo>,
    pub(super) topology: Topology,
}

/// The kind of deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    /// One server holds all keys.
    Server,
    /// A cluster: its nodes return the slot map.
    Cluster,
    /// One master holds all keys. The sentinels monitor it under this name.
    Sentinel(String),
}

/// The parts of a URL as they are written.
struct Parts<'a> {
    login: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    options: BTreeMap<&'a str, &'a str>,
}

/// An optional user, and a password.
type Login = (Option<String>, String);

/// Parses a URL. The error names the invalid part.
pub(super) fn parse(url: &str) -> Result<Target, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it is not a URL: write redis://HOST:PORT")?;
    // Schemes are case-insensitive (RFC 3986).
    let scheme = &*scheme.to_ascii_lowercase();
    let (tls, kind) = match scheme {
        "redis" => (false, ""),
        "rediss" => (true, ""),
        _ => match scheme.split_once('+') {
            Some(("redis", kind @ ("cluster" | "sentinel"))) => (false, kind),
            Some(("rediss", kind @ ("cluster" | "sentinel"))) => (true, kind),
            _ => return Err(no_such_scheme(scheme).to_owned()),
        },
    };
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("there is a space or a line break in it".to_owned());
    }
    let mut parts = split(rest, kind)?;
    let login = parts.login.map(read_login).transpose()?;
    speaks_resp3(&mut parts)?;
    let target = match kind {
        "cluster" => cluster(&mut parts, login, tls)?,
        "sentinel" => sentinels(&mut parts, login, tls)?,
        _ => server(&mut parts, login, tls)?,
    };
    match parts.options.first_key_value() {
        None => Ok(target),
        Some((key, _)) => Err(unknown_option(key, kind)),
    }
}

fn no_such_scheme(scheme: &str) -> &'static str {
    match scheme {
        "unix" | "redis+unix" | "valkey+unix" => {
            "Unix sockets are not supported: let the server listen on a port, and write redis://HOST:PORT"
        }
        "valkey" | "valkeys" => "write redis:// (with TLS rediss://) for Valkey too",
        _ => {
            "it begins with none of redis://, redis+cluster:// and redis+sentinel://, nor with rediss for redis"
        }
    }
}

/// `USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?OPTIONS#FRAGMENT`
fn split<'a>(rest: &'a str, kind: &str) -> Result<Parts<'a>, String> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (tail, fragment) = tail.split_once('#').map_or((tail, None), |(tail, end)| (tail, Some(end)));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    // Only the login of sentinels is an option that may have an @.
    let sentinels_login = |option: &str| kind == "sentinel" && option.starts_with("sentinel_");
    let mut options = query.split('&');
    if path.contains('@')
        || fragment.is_some_and(|fragment| fragment.contains('@'))
        || options.any(|option| option.contains('@') && !sentinels_login(option))
    {
        return Err(
            "there is a /, ? or # before its @: in a user or password / is written %2F, ? is %3F, # is %23 \
                    and @ is %40"
                .to_owned(),
        );
    }
    if fragment.is_some() {
        return Err(
            "it has a fragment (# and what follows), which says nothing to Glimpse: certificates are \
                    always verified, and the database stands after the host as /DB"
                .to_owned(),
        );
    }
    let mut options = BTreeMap::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or("an option after its ? has no value")?;
        if options.insert(key, value).is_some() {
            return Err("an option after its ? is given twice".to_owned());
        }
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    Ok(Parts { login, hosts, path: path.strip_prefix('/').unwrap_or(path), options })
}

fn read_login(login: &str) -> Result<Login, String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    match (user, password) {
        ("", "") => Err("there is no password before its @".to_owned()),
        (_, "") => Err("it has a user without a password: write USER:PASSWORD@".to_owned()),
        ("", password) => Ok((None, decoded(password)?)),
        (user, password) => Ok((Some(decoded(user)?), decoded(password)?)),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "its user or password is not UTF-8".to_owned())
}

/// Accepts only `protocol=resp3`.
fn speaks_resp3(parts: &mut Parts<'_>) -> Result<(), String> {
    match parts.options.remove("protocol") {
        None | Some("3" | "resp3") => Ok(()),
        Some(_) => Err("its option protocol can only be resp3, which is what Glimpse speaks".to_owned()),
    }
}

fn unknown_option(key: &str, kind: &str) -> String {
    let known = match kind {
        "sentinel" => "db, sentinel_username and sentinel_password",
        _ => "db",
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let secret = ["pass", "secret", "token", "auth", "key"].iter().any(|word| key.contains(word));
    match key {
        "user" | "username" | "pass" | "password" => {
            "user and password stand before the host, USER:PASSWORD@HOST, and not among its options"
                .to_owned()
        }
        // The name may be a part of a password that contains a ?.
        _ if secret || key.len() > 40 || !key.chars().all(plain) => {
            format!("it has an option that Glimpse does not know; it knows {known}")
        }
        _ => format!("it has an option {key}, which Glimpse does not know; it knows {known}"),
    }
}

/// `/DB` or `?db=DB`
fn database(path: &str, option: Option<&str>) -> Result<i64, String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let wrong = || "its database is no number: write /0, /1 and so on after the host".to_owned();
    let path = path.strip_suffix('/').unwrap_or(path);
    match (path, option) {
        ("", None) => Ok(0),
        ("", Some(only)) | (only, None) => number(only).ok_or_else(wrong),
        (path, Some(option)) => match (number(path), number(option)) {
            (Some(one), Some(other)) if one == other => Ok(one),
            (Some(_), Some(_)) => Err("it names two databases, /DB and ?db=".to_owned()),
            _ => Err(wrong()),
        },
    }
}

fn server(parts: &mut Parts<'_>, login: Option<Login>, tls: bool) -> Result<Target, String> {
    let db = database(parts.path, parts.options.remove("db"))?;
    if parts.hosts.contains(',') {
        return Err("it names several hosts: of a cluster write redis+cluster://, of sentinels \
                    redis+sentinel://"
            .to_owned());
    }
    let like = info(address(parts.hosts, PORT, tls)?, login, db)?;
    Ok(Target { like, seeds: Vec::new(), topology: Topology::Server })
}

fn cluster(parts: &mut Parts<'_>, login: Option<Login>, tls: bool) -> Result<Target, String> {
    if database(parts.path, parts.options.remove("db"))? != 0 {
        return Err("a cluster has no database but 0: leave out /DB".to_owned());
    }
    let seed = |host| info(address(host, PORT, tls)?, login.clone(), 0);
    let seeds = parts.hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
    // `split` returns at least one part.
    Ok(Target { like: seeds[0].clone(), seeds, topology: Topology::Cluster })
}

/// The hosts are sentinels. User, password and database belong to the master.
fn sentinels(parts: &mut Parts<'_>, login: Option<Login>, tls: bool) -> Result<Target, String> {
    let (service, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if service.is_empty() {
        return Err(
            "it does not say which service the sentinels watch: HOST:PORT,HOST:PORT/SERVICE".to_owned()
        );
    }
    let db = database(db, parts.options.remove("db"))?;
    let mut option = |name| match parts.options.remove(name) {
        None => Ok(None),
        Some("") => Err(format!("its option {name} is empty")),
        Some(value) => decoded(value).map(Some),
    };
    let theirs = match (option("sentinel_username")?, option("sentinel_password")?) {
        (None, None) => None,
        (user, Some(password)) => Some((user, password)),
        (Some(_), None) => return Err("it has a sentinel_username without a sentinel_password".to_owned()),
    };
    let seed = |host| info(address(host, SENTINELS_PORT, tls)?, theirs.clone(), 0);
    let seeds = parts.hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
    let like = info(seeds[0].addr().clone(), login, db)?;
    Ok(Target { like, seeds, topology: Topology::Sentinel(decoded(service)?) })
}

fn info(address: ConnectionAddr, login: Option<Login>, db: i64) -> Result<ConnectionInfo, String> {
    let settings = RedisConnectionInfo::default();
    let mut settings = settings.set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name().set_db(db);
    if let Some((user, password)) = login {
        settings = settings.set_password(password);
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
    }
    let info = address.into_connection_info().map_err(|error| error.category().to_owned())?;
    Ok(info.set_redis_settings(settings))
}

/// `HOST` or `HOST:PORT`
fn address(text: &str, usual: u16, tls: bool) -> Result<ConnectionAddr, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is no IPv6 address")?;
            match (port, port.strip_prefix(':')) {
                ("", _) => (host, None),
                (_, Some(port)) => (host, Some(port)),
                _ => return Err("there is something between ] and the colon of a port".to_owned()),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("a host has two colons: an IPv6 address is written in brackets".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    if host.contains('%') {
        return Err("a host has a % in it: Unix sockets are not supported, and a zone neither".to_owned());
    }
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !host.chars().all(named) {
        return Err("a host has a character that no host's name has".to_owned());
    }
    if matches!(host, "0.0.0.0" | "::") {
        return Err("0.0.0.0 and [::] are where a server listens: write the address at which it is reached"
            .to_owned());
    }
    let port = match port {
        None => usual,
        Some("") => return Err("a port is missing after its colon".to_owned()),
        Some(port) => match port.parse() {
            Ok(number @ 1..) if !port.starts_with('+') => number,
            _ => return Err("a port is no number from 1 to 65535".to_owned()),
        },
    };
    let host = host.to_owned();
    Ok(match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    })
}
