//! A connection on which nothing was sent yet: not even a login. What a server says to whom it does not want is the
//! answer to the first command here, where the library's own login would report a broken pipe.
//!
//! It blocks, so it belongs on a thread of its own. Used at the start and after a connection that broke at once, never
//! for commands.

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

/// How long a server may take to accept the connection, and how long for each answer.
const WITHIN: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Session(redis::Connection);

impl Session {
    /// Connects and sends nothing.
    pub(super) fn open(info: &ConnectionInfo) -> RedisResult<Self> {
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let client = Client::open(info.clone().set_redis_settings(bare))?;
        let connection = client.get_connection_with_timeout(WITHIN)?;
        connection.set_read_timeout(Some(WITHIN))?;
        connection.set_write_timeout(Some(WITHIN))?;
        Ok(Self(connection))
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.0.req_command(command)?.extract_error()
    }
}

/// What a server says to a client that has just connected, if that is a refusal.
pub(super) async fn first_words(info: ConnectionInfo) -> Option<RedisError> {
    let (answer, answered) = oneshot::channel();
    thread::spawn(move || {
        let asked = Session::open(&info).and_then(|mut session| session.ask(&redis::cmd("PING")));
        // That it wants a login is no reason: the client that asks has one.
        let refusal = asked.err().filter(|error| error.code().is_some_and(|code| code != "NOAUTH"));
        // The caller may have gone.
        let _ = answer.send(refusal);
    });
    answered.await.ok().flatten()
}

/// What a server speaks that did not answer in the way that the URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Redis' protocol, where the URL says TLS.
    Plain,
    /// TLS, where the URL does not say so.
    Tls,
}

/// Whether the server speaks the other of TLS and plain TCP.
pub(super) fn other_speech(address: &ConnectionAddr) -> Option<Speaks> {
    match address {
        ConnectionAddr::Tcp(host, port) => answers_tls(host, *port).then_some(Speaks::Tls),
        ConnectionAddr::TcpTls { host, port, .. } => answers_plainly(host, *port).then_some(Speaks::Plain),
        _ => None,
    }
}

fn answers_tls(host: &str, port: u16) -> bool {
    let mut record = [0; 2];
    let asked = connect(host, port).and_then(|mut stream| {
        stream.write_all(&client_hello())?;
        stream.read_exact(&mut record)
    });
    // A handshake message or an alert, of some version of TLS.
    asked.is_ok() && matches!(record, [0x15 | 0x16, 3])
}

/// The start of a TLS handshake, of version 1.2 and without extensions. Who speaks TLS answers it with a record, be it
/// an alert.
fn client_hello() -> Vec<u8> {
    let record_and_version = [0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    let random = [0; 32];
    let no_session_one_cipher_no_compression = [0, 0, 2, 0xc0, 0x2f, 1, 0];
    [&record_and_version[..], &random, &no_session_one_cipher_no_compression].concat()
}

fn answers_plainly(host: &str, port: u16) -> bool {
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
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => {
                stream.set_read_timeout(Some(WITHIN))?;
                stream.set_write_timeout(Some(WITHIN))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
