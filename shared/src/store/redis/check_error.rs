//! Errors of the check at the start: permanent and temporary ones.

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind};

use super::{
    failure::is_about_rights,
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
                format!("{server} wants a login: write USER:PASSWORD@ (or :PASSWORD@) before its name")
            }
            Some("WRONGPASS") => format!("{server} refuses the user or the password"),
            Some("DENIED") => format!(
                "{server} is in protected mode and answers to its own machine alone: give its default user a \
                 password and write it into the URL, or let the server listen on a private address with \
                 protected-mode no"
            ),
            _ if is_about_rights(error) => return Self::Permanent(forbidden(&server, &[command.to_owned()])),
            _ if is_unknown_command(error) => no_command(&server, command),
            Some(_) => return Self::Temporary(format!("{server}: {error}")),
            None => return Self::of_connection(address, error),
        };
        Self::Permanent(permanent)
    }

    fn of_connection(address: &ConnectionAddr, error: &RedisError) -> Self {
        let text = error.to_string();
        let certificate = text.contains("invalid peer certificate");
        if certificate || text.contains("PEM") {
            return Self::Permanent(format!(
                "the certificate of the server at {address} is not accepted ({text}): name the file of its \
                 authority in SSL_CERT_FILE, and the server as its certificate does"
            ));
        }
        if error.is_connection_refusal() {
            return Self::Temporary(format!("the server at {address} is unreachable: {text}"));
        }
        // The system's text for a timeout is "resource temporarily unavailable".
        let text = if error.is_timeout() { "it does not respond".to_owned() } else { text };
        match other_protocol(address) {
            Some(Protocol::Plain) => Self::Permanent(format!(
                "the server at {address} does not speak TLS on this port: write redis for rediss, or its TLS port"
            )),
            Some(Protocol::Tls) => Self::Permanent(format!(
                "the server at {address} speaks TLS on this port: write rediss for redis"
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

/// The message for commands that the user has no right to.
pub(super) fn forbidden(server: &str, commands: &[String]) -> String {
    format!(
        "{server} does not let this user run {}: give it the rights of the user in deploy/redis.conf (see \
         docs/operations.md), with the keys and channels of --redis-prefix",
        commands.join(", ")
    )
}

/// The message for a command that is renamed, switched off, or missing in this kind of server.
pub(super) fn no_command(server: &str, command: &str) -> String {
    format!(
        "{server} has no command {command}, which Glimpse needs: do not rename it or switch it off, or use another \
         server"
    )
}

/// Whether the server does not know a command, sent by itself or in a script.
fn is_unknown_command(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(is_unknown)
}

/// The same for an error's text.
pub(super) fn is_unknown(text: &str) -> bool {
    ["unknown command", "unknown subcommand", "Unknown Redis command"]
        .iter()
        .any(|words| text.contains(words))
}
