//! The policy for URLs of pictures: which hosts this server may fetch from.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::address::is_public;

/// A host that the operator trusts: a name or an address, as in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHost(String);

impl FromStr for ImageHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text} is not a host: write a name or an address, without scheme, port, path or wildcard"
            )
        };
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let host = match inner.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) if text.contains(|c: char| "/\\?#@:[]*".contains(c) || c.is_control()) => {
                return Err(wrong());
            }
            Err(_) => text.to_owned(),
        };
        // The URL parser normalises the host, as it does for the URLs of requests.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong())?;
        url.host_str().map(|host| Self(host.to_owned())).ok_or_else(wrong)
    }
}

/// The address may not be fetched from.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct Forbidden;

/// The allowed hosts. With a list: the hosts in it, with any address. Without a list: all hosts that have only public
/// addresses.
///
/// It is also the resolver of the connections, so a name whose address changes between two lookups cannot bypass the
/// policy.
pub(super) struct AddressPolicy {
    hosts: Option<Arc<[ImageHost]>>,
}

impl AddressPolicy {
    pub(super) fn new(hosts: &[ImageHost]) -> Self {
        Self { hosts: (!hosts.is_empty()).then(|| hosts.into()) }
    }

    /// Checks a URL before its name is resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") || !is_anonymous(url) {
            return Err(Forbidden);
        }
        let host = url.host_str().ok_or(Forbidden)?;
        if let Some(hosts) = &self.hosts {
            return if hosts.iter().any(|listed| listed.0 == host) { Ok(()) } else { Err(Forbidden) };
        }
        // An address in a URL is not resolved, so check it here. The URL parser has normalised its spelling (decimal,
        // octal, hexadecimal, missing parts).
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(Forbidden),
            _ => Ok(()),
        }
    }
}

fn is_anonymous(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        // `check` was called before: if there is a list, the name is in it.
        let anywhere = self.hosts.is_some();
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One private address rejects the whole name.
            if !anywhere && !addresses.iter().all(|address| is_public(address.ip())) {
                return Err(Forbidden.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
