//! The first bytes of a connection: they say whether the client speaks TLS, HTTP/2 or HTTP/1.

use std::io;

use bytes::Bytes;
use tokio::net::TcpStream;

/// How every connection of HTTP/2 begins. No request of HTTP/1 has this method.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Tls,
    Http2,
    /// Or something else, which gets HTTP/1's answer to a bad request.
    Http1,
}

/// The begin of a connection.
pub(crate) struct Opening {
    /// What the client speaks.
    pub(crate) speaks: Speaks,
    /// The bytes that are read already.
    pub(crate) begun: Bytes,
}

impl Opening {
    /// Reads as few bytes as show what the client speaks.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn read(stream: &TcpStream) -> io::Result<Self> {
        let (mut bytes, mut length) = ([0; PREFACE.len()], 0);
        let speaks = loop {
            if let Some(speaks) = speaks(&bytes[..length]) {
                break speaks;
            }
            stream.readable().await?;
            match stream.try_read(&mut bytes[length..]) {
                // The client says no more.
                Ok(0) => break Speaks::Http1,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        Ok(Self { speaks, begun: Bytes::copy_from_slice(&bytes[..length]) })
    }
}

/// What a client speaks; `None` if more bytes are needed.
fn speaks(begun: &[u8]) -> Option<Speaks> {
    match begun {
        [] => None,
        [HANDSHAKE, ..] => Some(Speaks::Tls),
        whole if whole == PREFACE => Some(Speaks::Http2),
        part if PREFACE.starts_with(part) => None,
        _ => Some(Speaks::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_decide() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\x16", Some(Speaks::Tls)),
            (b"\x16\x03\x01", Some(Speaks::Tls)),
            (b"P", None),
            (b"PO", Some(Speaks::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Speaks::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Speaks::Http1)),
            (b"\0", Some(Speaks::Http1)),
        ] {
            assert_eq!(speaks(bytes), expected, "{bytes:?}");
        }
    }
}
