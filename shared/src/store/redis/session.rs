//! A connection without a login. If a server refuses the connection, its reason is the reply to the first command here;
//! the library's own login would report a broken pipe.
//!
//! It blocks: use it on a separate thread. It is for the check at the start and for the reason of a refusal, not for
//! commands.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    thread,
    time::Duration,
};

use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ConnectionLike, RedisConnectionInfo, RedisError,
    RedisResult, Value,
};
use tokio::sync::oneshot;

/// The timeout for the connection, and for each reply.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A connection without a login; see the module.
pub(super) struct Session(redis::Connection);

impl Session {
    /// Connects and sends nothing.
    pub(super) fn open(info: &ConnectionInfo) -> RedisResult<Self> {
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let client = Client::open(info.clone().set_redis_settings(bare))?;
        let connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(connection))
    }

    /// Sends a command and waits for its reply.
    pub(super) fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.0.req_command(command)?.extract_error()
    }
}

/// The server's reason for refusing a new connection, if it does.
pub(super) async fn refusal_reason(info: ConnectionInfo) -> Option<RedisError> {
    let (answer, answered) = oneshot::channel();
    thread::spawn(move || {
        let asked = Session::open(&info).and_then(|mut session| session.ask(&redis::cmd("PING")));
        // NOAUTH is not the reason: the real client sends a login.
        let refusal = asked.err().filter(|error| error.code().is_some_and(|code| code != "NOAUTH"));
        // The caller may be gone.
        let _ = answer.send(refusal);
    });
    answered.await.ok().flatten()
}

/// The protocol of a server that does not use the one in the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Redis over plain TCP, but the URL says TLS.
    Plain,
    /// TLS, but the URL says plain TCP.
    Tls,
    /// Not Redis: the beginning of what it sends.
    Other(String),
}

/// Finds out what answers at the address, if it is not what the URL names.
pub(super) fn other_protocol(address: &ConnectionAddr) -> Option<Protocol> {
    match address {
        ConnectionAddr::Tcp(host, port) => match answers_tls(host, *port) {
            true => Some(Protocol::Tls),
            // Redis over plain TCP is what the URL names.
            false => plain_protocol(host, *port).filter(|found| *found != Protocol::Plain),
        },
        ConnectionAddr::TcpTls { host, port, .. } => plain_protocol(host, *port),
        _ => None,
    }
}

fn answers_tls(host: &str, port: u16) -> bool {
    let mut record = [0; 2];
    let asked = connect(host, port).and_then(|mut stream| {
        stream.write_all(&client_hello())?;
        stream.read_exact(&mut record)
    });
    // A TLS handshake message or alert.
    asked.is_ok() && matches!(record, [0x15 | 0x16, 3])
}

/// A TLS 1.2 ClientHello without extensions. A TLS server answers it with a record, at least with an alert.
fn client_hello() -> Vec<u8> {
    let record_and_version = [0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    let random = [0; 32];
    let no_session_one_cipher_no_compression = [0, 0, 2, 0xc0, 0x2f, 1, 0];
    [&record_and_version[..], &random, &no_session_one_cipher_no_compression].concat()
}

/// Sends PING over plain TCP. `None` for a server that sends nothing, or that speaks TLS.
fn plain_protocol(host: &str, port: u16) -> Option<Protocol> {
    let mut start = [0; 128];
    let asked = connect(host, port).and_then(|mut stream| {
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        stream.read(&mut start)
    });
    match start.get(..asked.ok()?)? {
        [] | [0x15 | 0x16, 3, ..] => None,
        [b'+' | b'-', ..] => Some(Protocol::Plain),
        other => Some(Protocol::Other(readable(other))),
    }
}

/// The first line of what a server sends, or all of it if the line has hardly any text.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible =
        |text: &str| text.chars().filter(|c| !c.is_control() && *c != '\u{fffd}').collect::<String>();
    let line = visible(text.lines().next().unwrap_or_default());
    let found = if line.trim().len() < 4 { visible(&text) } else { line };
    found.trim().chars().take(60).collect()
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use glimpse_test_support::FakeRedis;

    use super::*;

    #[test]
    fn what_answers_is_recognised_by_its_first_bytes() {
        let tls = |fake: &FakeRedis| {
            let (host, port) = ("127.0.0.1".to_owned(), fake.port());
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        };
        let plain = |fake: &FakeRedis| ConnectionAddr::Tcp("127.0.0.1".to_owned(), fake.port());
        let redis = FakeRedis::that_says("-DENIED");
        assert_eq!(other_protocol(&tls(&redis)), Some(Protocol::Plain));
        assert_eq!(other_protocol(&plain(&redis)), None);
        let web = FakeRedis::that_replies("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n");
        for address in [tls(&web), plain(&web)] {
            let sends = Protocol::Other("HTTP/1.1 400 Bad Request".to_owned());
            assert_eq!(other_protocol(&address), Some(sends));
        }
        let alert = FakeRedis::that_replies("\x15\x03\x03\0\x02\x02\x46");
        assert_eq!(other_protocol(&plain(&alert)), Some(Protocol::Tls));
        assert_eq!(other_protocol(&tls(&alert)), None);
        assert_eq!(readable(b"J\0\0\0\n8.0.36\0"), "J8.0.36");
    }
}
