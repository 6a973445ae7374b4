//! What the operator says about the way of a request to this process: its public address, and the proxies.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use reqwest::Url;

/// The address of the API for its clients: an http or https URL, without a `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Its host: a name or an address.
    pub(crate) fn host(&self) -> Option<String> {
        Url::parse(&self.0).ok()?.host_str().map(str::to_owned)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        let url = url.ok_or("should be an http or https URL without a login, a query and a fragment")?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl PublicUrl {
    /// The address without its path.
    pub(crate) fn origin(&self) -> String {
        Url::parse(&self.0).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Addresses of proxies: one address, or a network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNet(IpNet);

impl ProxyNet {
    /// The networks of this machine itself.
    pub fn loopback() -> Vec<Self> {
        let nets = [(IpAddr::from([127, 0, 0, 0]), 8), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128)];
        nets.into_iter().filter_map(|(address, bits)| IpNet::new(address, bits).ok()).map(Self).collect()
    }

    /// Whether it contains an address.
    pub(crate) fn has(self, peer: IpAddr) -> bool {
        self.0.contains(&peer.to_canonical())
    }
}

impl FromStr for ProxyNet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let net = text.parse::<IpNet>().ok().or_else(one);
        net.map(Self).ok_or_else(|| "should be an IP address, or a network as 10.0.0.0/8".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_address_without_an_end() {
        for (text, url) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("http://10.0.0.1:8080/pictures/", "http://10.0.0.1:8080/pictures"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), url);
        }
        for text in
            ["example.com", "ftp://example.com", "https://example.com/?a", "https://a@b/", "https://a/#b", ""]
        {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let has = |net: &str, peer: &str| net.parse::<ProxyNet>().unwrap().has(peer.parse().unwrap());
        assert!(
            has("10.0.0.0/8", "10.1.2.3") && has("10.0.0.1", "::ffff:10.0.0.1") && has("fd00::/8", "fd00::1")
        );
        assert!(!has("10.0.0.1", "10.0.0.2") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(ProxyNet::loopback().iter().any(|net| net.has("127.0.0.2".parse().unwrap())));
        assert!(ProxyNet::loopback().iter().any(|net| net.has("::1".parse().unwrap())));
        assert!("localhost".parse::<ProxyNet>().is_err() && "10.0.0.0/33".parse::<ProxyNet>().is_err());
    }
}
