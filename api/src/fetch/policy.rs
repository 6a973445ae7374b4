//! Which addresses this server may be asked to fetch from.

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
        let wrong =
            || format!("{text} is no host: a name or an address, without scheme, port, path and wildcard");
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let host = match inner.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) if text.contains(|c: char| "/\\?#@:[]*".contains(c) || c.is_control()) => {
                return Err(wrong());
            }
            Err(_) => text.to_owned(),
        };
        // Parsing it as part of a URL gives the spelling that it is compared in.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong())?;
        url.host_str().map(|host| Self(host.to_owned())).ok_or_else(wrong)
    }
}

/// The address may not be fetched from.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct Forbidden;

/// Decides for each address whether it may be fetched from. With a list: the hosts on it, wherever they are. Without
/// one: all hosts that have only public addresses.
///
/// It is also the resolver of the connections, so a name whose address changes between two lookups cannot get around
/// it.
pub(super) struct AddressPolicy {
    hosts: Option<Arc<[ImageHost]>>,
}

impl AddressPolicy {
    pub(super) fn new(hosts: &[ImageHost]) -> Self {
        Self { hosts: (!hosts.is_empty()).then(|| hosts.into()) }
    }

    /// Checks what can be checked before names are resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") || !is_anonymous(url) {
            return Err(Forbidden);
        }
        let host = url.host_str().ok_or(Forbidden)?;
        if let Some(hosts) = &self.hosts {
            return if hosts.iter().any(|listed| listed.0 == host) { Ok(()) } else { Err(Forbidden) };
        }
        // An address is not resolved. The parser has normalised every spelling of it (decimal, octal, hexadecimal,
        // with parts left out).
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
        // Only names of allowed URLs are resolved here: names on the list, if there is one.
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
