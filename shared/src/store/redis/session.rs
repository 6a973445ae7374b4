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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Plain TCP, but the URL says TLS.
    Plain,
    /// TLS, but the URL says plain TCP.
    Tls,
}

/// Tries the protocol that the URL does not name. Returns it if the server uses it.
pub(super) fn other_protocol(address: &ConnectionAddr) -> Option<Protocol> {
    match address {
        ConnectionAddr::Tcp(host, port) => answers_tls(host, *port).then_some(Protocol::Tls),
        ConnectionAddr::TcpTls { host, port, .. } => answers_plain(host, *port).then_some(Protocol::Plain),
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

fn answers_plain(host: &str, port: u16) -> bool {
    let mut first = [0];
    let asked = connect(host, port).and_then(|mut stream| {
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut first)
    });
    asked.is_ok() && matches!(first, [b'+' | b'-'])
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
