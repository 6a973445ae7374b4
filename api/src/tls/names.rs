//! The names under which clients reach this process.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

/// Names that every process has.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The names and addresses that a certificate must be for, without repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names(Vec<ServerName<'static>>);

impl Names {
    /// The names of a process that listens on `listen` (`HOST:PORT`), with the host of its public address. What is
    /// neither a name nor an address is left out.
    pub(super) fn of(listen: &str, public: Option<&str>) -> Self {
        let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
        let mut names = Vec::new();
        for name in ALWAYS.into_iter().chain([host]).chain(public) {
            let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
            if let Ok(name) = ServerName::try_from(name)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        Self(names)
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ServerName<'static>> {
        self.0.iter()
    }
}

/// A name that is not an address, or an address.
pub(super) enum Kind<'a> {
    Dns(&'a str),
    Ip(IpAddr),
}

/// Which kind a name is; `None` for kinds that rustls does not have yet.
pub(super) fn kind<'a>(name: &'a ServerName<'static>) -> Option<Kind<'a>> {
    match name {
        ServerName::DnsName(name) => Some(Kind::Dns(name.as_ref())),
        ServerName::IpAddress(address) => Some(Kind::Ip((*address).into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listen: &str, public: Option<&str>) -> Vec<String> {
        Names::of(listen, public).iter().map(|name| name.to_str().into_owned()).collect()
    }

    #[test]
    fn the_address_and_the_public_host_are_names_too() {
        assert_eq!(names("127.0.0.1:8080", None), ALWAYS);
        assert_eq!(names("LOCALHOST:0", Some("127.0.0.1")), ALWAYS);
        assert_eq!(names("[::1]:8080", None), ALWAYS);
        assert_eq!(names("0.0.0.0:8080", Some("gpu.lan"))[3..], ["0.0.0.0", "gpu.lan"]);
        assert_eq!(names("[fd00::7]:80", Some("[fd00::8]"))[3..], ["fd00::7", "fd00::8"]);
        assert_eq!(names("fe80::1%eth0:80", Some("no host"))[..], ALWAYS);
    }
}
