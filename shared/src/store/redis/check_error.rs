//! Errors of the check at the start: permanent and temporary ones.

use redis::{ConnectionAddr, ConnectionInfo, RedisError};

use super::{
    failure::{Failure, is_about_rights, refusal, shown},
    session::{Protocol, other_protocol},
};

/// Why the servers cannot serve this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CheckError {
    /// Permanent: an operator must change something.
    Permanent(String),
    /// Temporary: the server is unreachable, loading, a replica or full of clients, or the cluster is incomplete.
    Temporary(String),
}

impl CheckError {
    /// The error of a failed `command`; empty for the connection itself.
    pub(super) fn of(info: &ConnectionInfo, command: &str, error: &RedisError) -> Self {
        let address = info.addr();
        let server = format!("the server at {address}");
        let permanent = match error.code() {
            Some("NOAUTH") => {
                format!(
                    "{server} requires a login: put USER:PASSWORD@ (or :PASSWORD@) before the host in the URL"
                )
            }
            Some("WRONGPASS") => return Self::wrong_login(info),
            Some("DENIED") => format!(
                "{server} is in protected mode and accepts only connections from its own machine: give its default \
                 user a password and put it into the URL, or let the server listen on a private address with \
                 protected-mode no"
            ),
            _ if is_about_rights(error) => return Self::Permanent(forbidden(&server, &[command.to_owned()])),
            Some(_) => match refusal(error) {
                Some(answer) => refused(&server, command, &answer),
                None => return Self::Temporary(format!("{server}: {}", shown(&error.to_string()))),
            },
            None => return Self::of_connection(address, error),
        };
        Self::Permanent(permanent)
    }

    pub(super) fn wrong_login(info: &ConnectionInfo) -> Self {
        Self::Permanent(format!("the server at {} refuses the user or the password", info.addr()))
    }

    /// The error of a failed command on a connection of the pool.
    pub(super) fn of_failure(server: &str, command: &str, failure: &Failure) -> Self {
        let answer = match failure {
            Failure::Redis(error) => refusal(error),
            Failure::NoConnection(_) => None,
        };
        match answer {
            Some(answer) => Self::Permanent(refused(server, command, &answer)),
            None => Self::Temporary(shown(&failure.to_string())),
        }
    }

    fn of_connection(address: &ConnectionAddr, error: &RedisError) -> Self {
        let text = shown(&error.to_string());
        if let Some(why) = of_tls(&format!("the server at {address}"), &text) {
            return Self::Permanent(why);
        }
        if error.is_connection_refusal() {
            return Self::Temporary(format!("the server at {address} is unreachable: {text}"));
        }
        // The system's text for a timeout is "resource temporarily unavailable".
        let text = if error.is_timeout() { "it does not respond".to_owned() } else { text };
        match other_protocol(address) {
            Some(Protocol::Plain) => Self::Permanent(format!(
                "the server at {address} does not speak TLS on this port: use redis:// instead of rediss://, or its \
                 TLS port"
            )),
            Some(Protocol::Tls) => Self::Permanent(format!(
                "the server at {address} speaks TLS on this port: use rediss:// instead of redis://, or its port \
                 without TLS"
            )),
            Some(Protocol::Other(sends)) => Self::Permanent(format!(
                "what answers at {address} is not Redis: it sends {sends:?}. Use the host and the port of Redis"
            )),
            None => Self::Temporary(format!("the server at {address} is unreachable: {text}")),
        }
    }

    /// The message.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Permanent(text) | Self::Temporary(text) => text,
        }
    }
}

/// A permanent fault of the TLS handshake.
fn of_tls(server: &str, text: &str) -> Option<String> {
    let has = |words: &str| text.contains(words);
    if has("invalid peer certificate") || has("PEM") {
        return Some(format!(
            "the certificate of {server} is not accepted ({text}): name the file of its authority in SSL_CERT_FILE, \
             and use the host name that is in the certificate"
        ));
    }
    if has("alert: CertificateRequired") {
        return Some(format!(
            "{server} requires a client certificate, which Glimpse does not support: set tls-auth-clients no on the \
             server, and use a password"
        ));
    }
    if has("alert: ProtocolVersion") || has("peer is incompatible") {
        return Some(format!(
            "{server} and Glimpse have no version of TLS in common ({text}): let the server accept TLS 1.2 or 1.3"
        ));
    }
    if has("alert: HandshakeFailure") {
        return Some(format!(
            "{server} refuses the TLS handshake ({text}): if it requires client certificates, set tls-auth-clients no; \
             otherwise let it accept the usual ciphers of TLS 1.2 or 1.3"
        ));
    }
    None
}

/// The message for commands that the user has no right to.
pub(super) fn forbidden(server: &str, commands: &[String]) -> String {
    format!(
        "{server} does not let this user run {}: give it the rights of the user in deploy/redis.conf (see \
         docs/operations.md), with the keys and channels of --redis-prefix",
        commands.join(", ")
    )
}

/// The message for a command that the server does not run: it is renamed, disabled, or missing in this kind of server.
pub(super) fn refused(server: &str, command: &str, answer: &str) -> String {
    if command == "AUTH" {
        // The answer may repeat the password.
        return format!(
            "{server} does not run the command AUTH: do not rename or disable it, or use another server"
        );
    }
    if is_unknown(answer) {
        return format!(
            "{server} has no command {command}, which Glimpse needs (it answers {answer:?}): do not rename or disable \
             it, or use another server"
        );
    }
    format!(
        "{server} does not run the command {command}, which Glimpse needs (it answers {answer:?}): enable it on the \
         server, or use another server"
    )
}

/// Whether the server does not know a command, sent by itself or in a script.
pub(super) fn is_unknown(text: &str) -> bool {
    ["unknown command", "unknown subcommand", "Unknown Redis command"]
        .iter()
        .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::of_tls;

    #[test]
    fn a_permanent_fault_of_tls_is_named_with_what_to_do() {
        for (text, named) in [
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("received fatal alert: CertificateRequired", "tls-auth-clients no"),
            ("received fatal alert: HandshakeFailure", "tls-auth-clients no"),
            ("received fatal alert: ProtocolVersion", "TLS 1.2 or 1.3"),
            ("peer is incompatible: ServerTlsVersionIsDisabledByOurConfig", "TLS 1.2 or 1.3"),
        ] {
            assert!(of_tls("the server at redis:1", text).is_some_and(|why| why.contains(named)), "{text}");
        }
        for temporary in ["connection reset by peer", "received fatal alert: InternalError"] {
            assert_eq!(of_tls("the server at redis:1", temporary), None);
        }
    }
}
