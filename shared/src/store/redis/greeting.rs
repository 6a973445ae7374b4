//! Checks the servers at the start: their kind and version, whether they match the URL, and whether they accept the
//! login.
//!
//! It blocks, for seconds if a server does not respond: call it on a separate thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use redis::{ConnectionAddr, ConnectionInfo, Value, cmd};

use super::{
    check_error::CheckError,
    failure::refusal,
    session::Session,
    slots::{Map, parse_map},
    target::{Target, Topology},
};

/// The oldest versions with everything that the scripts use (sharded pub/sub and script flags).
const OLDEST_REDIS: u32 = 7;
const OLDEST_VALKEY: u32 = 8;
/// Products that imitate Redis, as their `INFO` names them.
const OTHER_PRODUCTS: [&str; 6] = ["kvrocks", "dragonfly", "garnet", "tendis", "pika", "keydb"];

/// What a server reports about itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Identity {
    valkey: bool,
    /// The version of Redis or Valkey that it is, or that it imitates.
    version: String,
    /// Another product's name and version.
    product: Option<String>,
    mode: String,
}

/// Warnings about servers that work, but are not configured as they should be.
type Warnings = BTreeSet<String>;

/// Checks every server that the URL leads to.
pub(super) fn greet(target: &Target) -> Result<Warnings, CheckError> {
    let mut warnings = Warnings::new();
    match &target.topology {
        Topology::Server => drop(server(&target.like, "standalone", &mut warnings)?),
        Topology::Cluster => cluster(target, &mut warnings)?,
        Topology::Sentinel(service) => warnings = sentinels(target, service)?,
    }
    Ok(warnings)
}

/// Checks a server that holds keys.
fn server(info: &ConnectionInfo, mode: &str, warnings: &mut Warnings) -> Result<Session, CheckError> {
    let (mut session, identity, without_hello) = log_in(info, "")?;
    let address = info.addr();
    if identity.is_too_old() {
        return Err(CheckError::Permanent(format!(
            "the server at {address} is {}: Glimpse needs Redis {OLDEST_REDIS}.0 or newer, or Valkey {OLDEST_VALKEY} \
             or newer",
            identity.name()
        )));
    }
    if let Some(error) = without_hello {
        return Err(error);
    }
    match (&*identity.mode, mode) {
        (is, wanted) if is.is_empty() || is == wanted => {}
        ("cluster", _) => {
            return Err(CheckError::Permanent(format!(
                "the server at {address} is a node of a cluster: write redis+cluster:// (with TLS \
                 rediss+cluster://)"
            )));
        }
        ("sentinel", _) => {
            return Err(CheckError::Permanent(format!(
                "the server at {address} is a sentinel: write redis+sentinel://HOST:PORT/SERVICE"
            )));
        }
        (_, "cluster") => return Err(no_cluster(info)),
        // An unknown mode.
        _ => {}
    }
    select(&mut session, info)?;
    warnings.extend(eviction(&mut session, address));
    Ok(session)
}

impl Identity {
    fn is_too_old(&self) -> bool {
        let oldest = if self.valkey { OLDEST_VALKEY } else { OLDEST_REDIS };
        major(&self.version).is_some_and(|major| major < oldest)
    }

    fn name(&self) -> String {
        let name = if self.valkey { "Valkey" } else { "Redis" };
        self.product.clone().unwrap_or_else(|| format!("{name} {}", self.version))
    }
}

/// A warning about a server that deletes keys when its memory is full. The user may have no right to INFO, and does
/// not need one.
fn eviction(session: &mut Session, address: &ConnectionAddr) -> Option<String> {
    let Ok(Value::BulkString(text)) = session.ask(cmd("INFO").arg("memory")) else { return None };
    let text = String::from_utf8_lossy(&text);
    let limit = info_line(&text, "maxmemory")?;
    let policy = info_line(&text, "maxmemory_policy")?;
    (limit != "0" && policy != "noeviction").then(|| {
        format!(
            "the server at {address} has a maxmemory and the maxmemory-policy {policy}: when its memory is full, it \
             deletes jobs and their events. Set maxmemory-policy noeviction"
        )
    })
}

fn no_cluster(info: &ConnectionInfo) -> CheckError {
    CheckError::Permanent(format!(
        "the server at {} is a single server and no cluster: write redis:// (with TLS rediss://)",
        info.addr()
    ))
}

fn select(session: &mut Session, info: &ConnectionInfo) -> Result<(), CheckError> {
    let db = info.redis_settings().db();
    if db == 0 {
        return Ok(());
    }
    match session.ask(cmd("SELECT").arg(db)) {
        Ok(_) => Ok(()),
        Err(error) if error.detail().is_some_and(|text| text.contains("out of range")) => {
            Err(CheckError::Permanent(format!(
                "the server at {} has no database {db}: use a smaller number, or raise `databases` on the server",
                info.addr()
            )))
        }
        Err(error) => Err(CheckError::of(info, "SELECT", &error)),
    }
}

/// Connects, logs in as the URL says, and asks for the server's kind and version; also returns the error if the server
/// does not run HELLO. `hint` ends the message of a wrong login.
fn log_in(info: &ConnectionInfo, hint: &str) -> Result<(Session, Identity, Option<CheckError>), CheckError> {
    let hinted = |error| match error {
        CheckError::Permanent(text) => CheckError::Permanent(format!("{text}{hint}")),
        temporary => temporary,
    };
    let mut session = Session::open(info).map_err(|error| CheckError::of(info, "", &error))?;
    let settings = info.redis_settings();
    if let Some(password) = settings.password() {
        let mut auth = cmd("AUTH");
        if let Some(user) = settings.username() {
            auth.arg(user);
        }
        session.ask(auth.arg(password)).map_err(|error| {
            let says = |words| error.detail().is_some_and(|text| text.contains(words));
            let address = info.addr();
            if says("without any password configured") {
                hinted(CheckError::Permanent(format!(
                    "the server at {address} has no password, and the URL has a password: remove it, or set \
                     requirepass on the server"
                )))
            } else if says("wrong number of arguments") {
                CheckError::Permanent(format!(
                    "the server at {address} knows no users: Glimpse needs Redis {OLDEST_REDIS}.0 or newer, or \
                     Valkey {OLDEST_VALKEY} or newer"
                ))
            } else if error.code() == Some("WRONGPASS") || says("invalid password") || says("invalid username") {
                hinted(CheckError::wrong_login(info))
            } else {
                CheckError::of(info, "AUTH", &error)
            }
        })?;
    }
    let (hello, without_hello) = match session.ask(cmd("HELLO").arg(2)) {
        Ok(answer) => (parse_hello(&answer), None),
        Err(error) => match CheckError::of(info, "HELLO", &error) {
            // Redis before 6 has no HELLO: its version is the better error.
            refused @ CheckError::Permanent(_) if refusal(&error).is_some() => {
                (Identity::default(), Some(refused))
            }
            wrong if error.code() == Some("NOAUTH") => return Err(hinted(wrong)),
            wrong => return Err(wrong),
        },
    };
    let identity = identity(&mut session, hello);
    Ok((session, identity, without_hello))
}

/// Asks for what `HELLO` does not say.
fn identity(session: &mut Session, hello: Identity) -> Identity {
    // Valkey 7.2 reports Redis 7.2, and other products the version of a Redis or their own.
    if !hello.version.is_empty() && !hello.version.starts_with("7.2.") && !hello.is_too_old() {
        return hello;
    }
    match session.ask(cmd("INFO").arg("server")) {
        Ok(Value::BulkString(text)) => parse_info(&String::from_utf8_lossy(&text), hello),
        // The user may have no right to INFO, and does not need one.
        _ => hello,
    }
}

/// Reads the reply to `HELLO`: names and values in turn.
fn parse_hello(answer: &Value) -> Identity {
    let text = |value: &Value| match value {
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    };
    let Value::Array(parts) = answer else { return Identity::default() };
    let named: BTreeMap<_, _> = parts.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let get = |name| named.get(name).cloned().unwrap_or_default();
    Identity { valkey: get("server") == "valkey", version: get("version"), product: None, mode: get("mode") }
}

/// Kind, version and mode of a server, by its reply to `HELLO` in either protocol.
pub(super) fn introduction(hello: Value) -> String {
    let identity = parse_hello(&match hello {
        Value::Map(entries) => {
            Value::Array(entries.into_iter().flat_map(|(key, value)| [key, value]).collect())
        }
        other => other,
    });
    if identity.mode.is_empty() { identity.name() } else { format!("{}, {}", identity.name(), identity.mode) }
}

/// Reads the lines of `INFO`; missing values stay as in `HELLO`.
fn parse_info(text: &str, hello: Identity) -> Identity {
    let line = |name: &str| info_line(text, name).map(str::to_owned);
    let valkey = line("valkey_version");
    let product = OTHER_PRODUCTS.iter().find_map(|name| {
        let version = line(&format!("{name}_version"))?;
        Some(format!("{name} {version}"))
    });
    Identity {
        valkey: hello.valkey || valkey.is_some(),
        product,
        version: valkey.or_else(|| line("redis_version")).unwrap_or(hello.version),
        mode: line("redis_mode").or_else(|| line("server_mode")).unwrap_or(hello.mode),
    }
}

/// The value of a line of `INFO`.
pub(super) fn info_line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Checks every master of a cluster, because each has its own users. Skips unreachable ones.
fn cluster(target: &Target, warnings: &mut Warnings) -> Result<(), CheckError> {
    let mut temporary = None;
    let map = target.seeds.iter().find_map(|seed| match slots(seed, warnings) {
        Ok(map) => Some(Ok(map)),
        Err(CheckError::Temporary(why)) => {
            temporary.get_or_insert(CheckError::Temporary(why));
            None
        }
        Err(permanent) => Some(Err(permanent)),
    });
    let Some(map) = map.transpose()? else {
        return Err(temporary.unwrap_or_else(|| CheckError::Temporary("no node answered".to_owned())));
    };
    let masters: BTreeMap<_, _> = map.iter().map(|(_, address)| (address.to_string(), address)).collect();
    let mut reached = false;
    for address in masters.into_values() {
        match server(&target.like.clone().set_addr(address.clone()), "cluster", warnings) {
            Ok(_) => reached = true,
            Err(CheckError::Temporary(why)) => {
                temporary.get_or_insert(CheckError::Temporary(why));
            }
            Err(permanent) => return Err(permanent),
        }
    }
    match (reached, temporary) {
        (true, _) => Ok(()),
        (false, temporary) => {
            Err(temporary.unwrap_or_else(|| CheckError::Temporary("the cluster has no slots".to_owned())))
        }
    }
}

fn slots(seed: &ConnectionInfo, warnings: &mut Warnings) -> Result<Map, CheckError> {
    let mut session = server(seed, "cluster", warnings)?;
    match session.ask(cmd("CLUSTER").arg("SLOTS")) {
        Ok(map) => Ok(parse_map(map, seed.addr())),
        Err(error) if error.detail().is_some_and(|text| text.contains("cluster support disabled")) => {
            Err(no_cluster(seed))
        }
        Err(error) => Err(CheckError::of(seed, "CLUSTER SLOTS", &error)),
    }
}

/// Checks all sentinels in parallel: one that names the master is enough.
fn sentinels(target: &Target, service: &str) -> Result<Warnings, CheckError> {
    let asked: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> =
            target.seeds.iter().map(|seed| scope.spawn(|| master(target, service, seed))).collect();
        let gone = || {
            Err(CheckError::Temporary("the thread that checks a sentinel ended without a result".to_owned()))
        };
        asking.into_iter().map(|asking| asking.join().unwrap_or_else(|_| gone())).collect()
    });
    let mut temporary = None;
    let mut permanent = None;
    for answer in asked {
        match answer {
            Ok(warnings) => return Ok(warnings),
            Err(error @ CheckError::Permanent(_)) => permanent = permanent.or(Some(error)),
            Err(error) => temporary = temporary.or(Some(error)),
        }
    }
    Err(permanent.or(temporary).unwrap_or_else(|| CheckError::Temporary("no sentinel answered".to_owned())))
}

/// Checks a sentinel and the master that it names.
fn master(target: &Target, service: &str, seed: &ConnectionInfo) -> Result<Warnings, CheckError> {
    let address = seed.addr();
    let no_sentinel = || {
        CheckError::Permanent(format!(
            "the server at {address} is no sentinel: name the sentinels (their port is 26379 as a rule), or write \
             redis:// or redis+cluster://"
        ))
    };
    let hint = ". This is a sentinel, whose login is ?sentinel_username=…&sentinel_password=…";
    let (mut session, identity, without_hello) = log_in(seed, hint)?;
    if !matches!(&*identity.mode, "" | "sentinel") {
        return Err(no_sentinel());
    }
    if let Some(error) = without_hello {
        return Err(error);
    }
    let named = session.ask(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service));
    let named = named.map_err(|error| match error.detail() {
        Some(text) if text.contains("unknown command") => no_sentinel(),
        _ => CheckError::of(seed, "SENTINEL GET-MASTER-ADDR-BY-NAME", &error),
    })?;
    let all = [Value::Int(0), Value::Int(0), named];
    let map = parse_map(Value::Array(vec![Value::Array(all.into())]), address);
    let Some((_, at)) = map.into_iter().next() else {
        let known = services(&mut session);
        return Err(CheckError::Permanent(format!(
            "the sentinel at {address} monitors no master named {service}{known}: write its name after the hosts"
        )));
    };
    let info = target.like.clone().set_addr(at);
    let mut warnings = Warnings::new();
    let mut session = server(&info, "standalone", &mut warnings)?;
    match session.ask(&cmd("ROLE")) {
        Ok(Value::Array(role)) if matches!(role.first(), Some(Value::BulkString(word)) if word == b"master") => {
            Ok(warnings)
        }
        Ok(_) => Err(CheckError::Temporary(format!("the server at {} is a replica", info.addr()))),
        Err(error) => Err(CheckError::of(&info, "ROLE", &error)),
    }
}

/// The names of the masters that a sentinel monitors, for the error message.
fn services(session: &mut Session) -> String {
    let Ok(Value::Array(masters)) = session.ask(cmd("SENTINEL").arg("MASTERS")) else { return String::new() };
    let names: Vec<_> = masters
        .into_iter()
        .filter_map(|master| redis::from_redis_value::<BTreeMap<String, String>>(master).ok()?.remove("name"))
        .collect();
    if names.is_empty() { String::new() } else { format!(", but {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_identified_by_hello_and_info() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let hello = |server, version, mode| {
            let parts = ["server", server, "version", version, "proto", "2", "mode", mode];
            parse_hello(&Value::Array(parts.map(text).into()))
        };
        let is = |valkey, version: &str, mode: &str| Identity {
            valkey,
            version: version.to_owned(),
            product: None,
            mode: mode.to_owned(),
        };
        assert_eq!(hello("redis", "7.0.15", "standalone"), is(false, "7.0.15", "standalone"));
        assert_eq!(hello("valkey", "8.1.0", "cluster"), is(true, "8.1.0", "cluster"));
        assert_eq!(parse_hello(&Value::Okay), Identity::default());
        let old = "# Server\r\nredis_version:6.2.6\r\nredis_mode:standalone\r\n";
        assert_eq!(parse_info(old, Identity::default()), is(false, "6.2.6", "standalone"));
        let valkey =
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.8\r\nserver_mode:cluster\r\n";
        assert_eq!(parse_info(valkey, Identity::default()), is(true, "7.2.8", "cluster"));
        let kvrocks = "version:2.9.0\r\nkvrocks_version:2.9.0\r\nredis_version:4.0.0\r\n";
        let kvrocks = parse_info(kvrocks, hello("redis", "2.9.0", "standalone"));
        assert_eq!((kvrocks.name(), kvrocks.is_too_old()), ("kvrocks 2.9.0".to_owned(), true));
        assert_eq!(major("255.255.255"), Some(255));
        assert_eq!(major("unstable"), None);
    }
}
