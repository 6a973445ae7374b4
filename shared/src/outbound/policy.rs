//! The policy for URLs that clients choose (pictures, webhooks, LoRAs): which hosts this machine may call.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::address::is_public;

/// A host that the operator trusts: a name or an address, as in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHost(String);

impl FromStr for TrustedHost {
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

/// The address may not be called.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub struct Forbidden;

/// Looks up the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The hosts that may be called.
#[derive(Clone)]
enum Allowed {
    /// All hosts that have only public addresses.
    Public,
    /// These hosts, with any address.
    Listed(Arc<[TrustedHost]>),
    /// All hosts, with any address.
    Any,
}

/// The allowed hosts.
///
/// It is also the resolver of the connections, so a name whose address changes between two lookups cannot bypass the
/// policy.
pub struct AddressPolicy {
    allowed: Allowed,
    lookup: Lookup,
}

impl AddressPolicy {
    /// The hosts in the list, or all public hosts if it is empty.
    pub fn of_hosts(hosts: &[TrustedHost]) -> Self {
        let allowed = if hosts.is_empty() { Allowed::Public } else { Allowed::Listed(hosts.into()) };
        Self { allowed, lookup: of_the_system() }
    }

    /// For webhooks: all public hosts, and with `private` all hosts.
    pub fn of_webhooks(private: bool) -> Self {
        Self { allowed: if private { Allowed::Any } else { Allowed::Public }, lookup: of_the_system() }
    }

    /// With another lookup of names, for tests.
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// The addresses of a name.
    ///
    /// # Errors
    /// [`Forbidden`] if one of them may not be called, or an error of the lookup.
    pub async fn resolved(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let addresses = (self.lookup)(name.to_owned()).await?;
        // One private address rejects the whole name.
        let is_allowed = |address: &SocketAddr| match &self.allowed {
            Allowed::Public => is_public(address.ip()),
            // `check` was called before: the name is in the list.
            Allowed::Listed(_) | Allowed::Any => true,
        };
        if addresses.iter().all(is_allowed) { Ok(addresses) } else { Err(Forbidden.into()) }
    }

    /// Checks a URL before its name is resolved.
    ///
    /// # Errors
    /// If its scheme, its address or its host may not be called, or it has a user or a password.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") || !is_anonymous(url) {
            return Err(Forbidden);
        }
        let host = url.host_str().ok_or(Forbidden)?;
        match &self.allowed {
            Allowed::Public => {}
            Allowed::Listed(hosts) if hosts.iter().any(|listed| listed.0 == host) => return Ok(()),
            Allowed::Listed(_) => return Err(Forbidden),
            Allowed::Any => return Ok(()),
        }
        // An address in a URL is not resolved, so check it here. The URL parser has normalised its spelling (decimal,
        // octal, hexadecimal, missing parts).
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if !is_public(address) => Err(Forbidden),
            Err(_) if is_this_machine(host) => Err(Forbidden),
            _ => Ok(()),
        }
    }
}

/// Whether a name is this machine's by RFC 6761, whatever a lookup says. The URL parser has written it in lower case.
fn is_this_machine(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn is_anonymous(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Self { allowed: self.allowed.clone(), lookup: self.lookup.clone() };
        Box::pin(async move {
            let addresses = policy.resolved(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn of_the_system() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
}
