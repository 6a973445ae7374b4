//! The part of Redis' protocol that tests need.

use std::{
    io::{BufRead, BufReader, Error, ErrorKind, Result, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The timeout of a command in tests.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+` or `$`.
    Text(String),
    /// `-`.
    Error(String),
    /// `:`.
    Number(i64),
    /// `$-1` or `*-1`.
    Nil,
    /// `*`.
    List(Vec<Reply>),
}

impl Reply {
    /// The text; empty for other replies.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The first item's text; empty for other replies.
    pub fn first(&self) -> &str {
        match self {
            Self::List(items) => items.first().map_or("", Self::text),
            _ => "",
        }
    }

    /// The items as texts; empty for other replies.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            _ => Vec::new(),
        }
    }
}

/// Sends one command on a connection of its own.
pub(crate) fn ask(port: u16, words: &[&str]) -> Result<Reply> {
    ask_bytes(port, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}

/// The same, with words that need not be text.
pub(crate) fn ask_bytes(port: u16, words: &[&[u8]]) -> Result<Reply> {
    let mut stream = connect(port)?;
    send_bytes(&mut stream, words)?;
    read(&mut BufReader::new(stream))
}

pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

pub(crate) fn send(stream: &mut TcpStream, words: &[&str]) -> Result<()> {
    send_bytes(stream, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}

fn send_bytes(stream: &mut TcpStream, words: &[&[u8]]) -> Result<()> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    stream.write_all(&command)
}

pub(crate) fn read(stream: &mut impl BufRead) -> Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let Some(kind) = line.chars().next() else { return Err(Error::from(ErrorKind::UnexpectedEof)) };
    let rest = &line[1..];
    let count = || rest.parse::<i64>().map_err(|_| Error::other(format!("not RESP: {line}")));
    Ok(match kind {
        '+' => Reply::Text(rest.to_owned()),
        '-' => Reply::Error(rest.to_owned()),
        ':' => Reply::Number(count()?),
        '$' => match usize::try_from(count()?) {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                Reply::Text(String::from_utf8_lossy(&bytes[..length]).into_owned())
            }
            Err(_) => Reply::Nil,
        },
        '*' => match count()? {
            -1 => Reply::Nil,
            length => Reply::List((0..length).map(|_| read(stream)).collect::<Result<_>>()?),
        },
        _ => return Err(Error::other(format!("not RESP: {line}"))),
    })
}
