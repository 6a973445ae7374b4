//! Faults that keep a store from serving: permanent and temporary ones.

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind};

use super::{
    failure::is_about_rights,
    session::{Speaks, other_speech},
};

/// A fault of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Permanent: an operator must change something.
    Lasting(String),
    /// Temporary: unreachable, loading, a replica, an incomplete cluster, no more clients.
    Passing(String),
}

impl Obstacle {
    /// The fault behind a command that failed.
    pub(super) fn of(info: &ConnectionInfo, command: &str, error: &RedisError) -> Self {
        let address = info.addr();
        let server = format!("the server at {address}");
        let lasting = match error.code() {
            Some("NOAUTH") => {
                format!("{server} wants a login: write USER:PASSWORD@ (or :PASSWORD@) before its name")
            }
            Some("WRONGPASS") => format!("{server} refuses the user or the password"),
            Some("DENIED") => format!(
                "{server} is in protected mode and answers to its own machine alone: give its default user a \
                 password and write it into the URL, or let the server listen on a private address with \
                 protected-mode no"
            ),
            _ if is_about_rights(error) => return Self::Lasting(forbidden(&server, &[command.to_owned()])),
            _ if is_unknown_command(error) => no_command(&server, command),
            Some(_) => return Self::Passing(format!("{server}: {error}")),
            None => return Self::of_connection(address, error),
        };
        Self::Lasting(lasting)
    }

    fn of_connection(address: &ConnectionAddr, error: &RedisError) -> Self {
        let text = error.to_string();
        let certificate = text.contains("invalid peer certificate");
        if certificate || text.contains("PEM") {
            return Self::Lasting(format!(
                "the certificate of the server at {address} is not accepted ({text}): name the file of its \
                 authority in SSL_CERT_FILE, and the server as its certificate does"
            ));
        }
        if error.is_connection_refusal() {
            return Self::Passing(format!("the server at {address} is unreachable: {text}"));
        }
        // The system's text for a timeout is "resource temporarily unavailable".
        let text = if error.is_timeout() { "it does not respond".to_owned() } else { text };
        match other_speech(address) {
            Some(Speaks::Plain) => Self::Lasting(format!(
                "the server at {address} does not speak TLS on this port: write redis for rediss, or its TLS port"
            )),
            Some(Speaks::Tls) => Self::Lasting(format!(
                "the server at {address} speaks TLS on this port: write rediss for redis"
            )),
            None => Self::Passing(format!("the server at {address} is unreachable: {text}")),
        }
    }

    /// What it says.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Lasting(text) | Self::Passing(text) => text,
        }
    }
}

/// Commands that the user has no right to.
pub(super) fn forbidden(server: &str, commands: &[String]) -> String {
    format!(
        "{server} does not let this user run {}: give it the rights of the user in deploy/redis.conf (see \
         docs/operations.md), with the keys and channels of --redis-prefix",
        commands.join(", ")
    )
}

/// A command that was renamed or switched off, or that this kind of server does not have.
pub(super) fn no_command(server: &str, command: &str) -> String {
    format!(
        "{server} has no command {command}, which Glimpse needs: do not rename it or switch it off, or use another \
         server"
    )
}

/// Whether the server, or a script in it, does not know a command.
fn is_unknown_command(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(is_unknown)
}

/// The same of an error's text.
pub(super) fn is_unknown(text: &str) -> bool {
    ["unknown command", "unknown subcommand", "Unknown Redis command"]
        .iter()
        .any(|words| text.contains(words))
}
