//! The environment of the process: an empty variable counts as not set.
//!
//! Compose files and unit files often set empty variables (`GLIMPSE_APP=`). Flags read them, and so do libraries
//! (`SSL_CERT_FILE`), each in its own way.

use std::{env, ffi::OsStr, net::Ipv6Addr, os::unix::process::CommandExt, process::Command};

/// Prefixes of the variables that we define or read.
const OURS: [&str; 7] = ["GLIMPSE_", "AWS_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "OTEL_", "SSL_CERT_"];
/// One more variable that we read.
const CACHE: &str = "XDG_CACHE_HOME";
/// The variables with the address of a proxy, which HTTP clients read.
const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The variables with the hosts that need no proxy.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// A variable with an address that HTTP clients cannot use as a proxy. They would ignore it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {why}")]
pub struct UnusableProxy {
    /// The variable.
    pub name: &'static str,
    /// The reason, without the address, which may contain a password.
    pub why: &'static str,
}

/// Removes the empty variables from the environment. Call it first in `main`.
///
/// Removing a variable from a running process is unsafe, because another thread may read it. So the process executes
/// its own program again, without the empty variables.
pub fn forget_empty() {
    let empty: Vec<_> = env::vars_os().filter(|(name, value)| value.is_empty() && is_ours(name)).collect();
    if empty.is_empty() {
        return;
    }
    let mut arguments = env::args_os();
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments);
    for (name, _) in empty {
        again.env_remove(name);
    }
    // `exec` returns only an error. Then flags and libraries read the empty variables.
    let error = again.exec();
    eprintln!("glimpse: cannot remove empty variables from the environment: {error}");
}

/// Checks the variables that name proxies. Call it before an HTTP client is built.
///
/// # Errors
/// The first variable that cannot be used.
pub fn check_proxies() -> Result<(), UnusableProxy> {
    for name in PROXIES {
        let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { continue };
        let checked = value.to_str().ok_or("is not UTF-8").and_then(check_proxy);
        checked.map_err(|why| UnusableProxy { name, why })?;
    }
    Ok(())
}

/// `http://USER:PASSWORD@HOST:PORT`, of which only the host is required.
fn check_proxy(address: &str) -> Result<(), &'static str> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("socks") {
        return Err("names a SOCKS proxy, which is not supported: use an http:// or https:// proxy");
    }
    if !matches!(&*scheme, "http" | "https") {
        return Err("does not begin with http:// or https://");
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !matches!(tail, "" | "/") {
        return Err(
            "has a path, a query or a fragment: write http://HOST:PORT (in a user or password / is written \
                    %2F, ? is %3F, # is %23 and @ is %40)",
        );
    }
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if login.contains('@') || !login.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a user or a password that is not percent-encoded (@ is %40)");
    }
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => ("ipv6", port),
        Some(_) => return Err("has no valid host"),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.is_empty() || !host.chars().all(named) {
        return Err("has no valid host");
    }
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port.strip_prefix(':').map(|port| (digits(port), port.parse::<u16>())) {
        None if port.is_empty() => Ok(()),
        Some((true, Ok(1..))) => Ok(()),
        _ => Err("has a port that is not a number from 1 to 65535"),
    }
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let mut proxies = PROXIES.iter().chain(&NO_PROXY);
    name == CACHE || proxies.any(|proxy| name == *proxy) || OURS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_variables_are_removed() {
        for ours in [
            "GLIMPSE_APP",
            "AWS_ENDPOINT_URL",
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "SSL_CERT_FILE",
            "XDG_CACHE_HOME",
            "http_proxy",
            "ALL_PROXY",
            "NO_PROXY",
        ] {
            assert!(is_ours(OsStr::new(ours)), "{ours}");
        }
        for others in ["CUDA_VISIBLE_DEVICES", "PATH", "MY_GLIMPSE_APP"] {
            assert!(!is_ours(OsStr::new(others)), "{others}");
        }
    }

    #[test]
    fn an_address_that_is_no_proxy_is_refused() {
        for usable in [
            "http://proxy:3128",
            "HTTP://proxy",
            "https://proxy.internal/",
            "proxy:3128",
            "http://user:p%40ss@10.0.0.1:3128",
            "http://[::1]:3128",
        ] {
            assert_eq!(check_proxy(usable), Ok(()), "{usable}");
        }
        for (unusable, why) in [
            ("socks5://proxy:1080", "SOCKS"),
            ("SOCKS5H://proxy:1080", "SOCKS"),
            ("ftp://proxy", "http://"),
            ("://proxy", "http://"),
            ("http://proxy:3128/path", "path"),
            ("http://proxy:3128?x=1", "query"),
            ("http://proxy#x", "fragment"),
            ("http://user:p/ss@proxy", "%2F"),
            ("http://user:p@ss@proxy", "percent-encoded"),
            ("http://", "host"),
            ("http://:3128", "host"),
            ("http://pro xy", "host"),
            ("http://[::1", "host"),
            ("http://proxy:", "port"),
            ("http://proxy:0", "port"),
            ("http://proxy:+1", "port"),
            ("http://proxy:65536", "port"),
        ] {
            let said = check_proxy(unusable).expect_err(unusable);
            assert!(said.contains(why), "{unusable}: {said}");
        }
    }
}
