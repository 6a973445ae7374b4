//! A client over a raw socket, so that tests check every byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) use glimpse_test_support::SOON;

pub(crate) struct Client {
    stream: Connection,
    read: Vec<u8>,
}

/// A connection, with TLS or without.
enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

impl Connection {
    fn bytes(&mut self) -> &mut dyn Bytes {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.body.is_ascii());
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// A client on an open connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream: Connection::Plain(stream), read: Vec::new() }
    }

    /// A client that speaks TLS.
    pub(crate) async fn secure(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(address.ip().to_string()).unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self { stream: Connection::Tls(Box::new(stream)), read: Vec::new() })
    }

    #[cfg(test)]
    /// The TLS side of the connection.
    pub(crate) fn tls(&self) -> &rustls::ClientConnection {
        match &self.stream {
            Connection::Plain(_) => panic!("the connection has no TLS"),
            Connection::Tls(stream) => stream.get_ref().1,
        }
    }

    /// Closes the sending half: `shutdown(SHUT_WR)`.
    pub(crate) async fn half_close(&mut self) {
        self.stream.bytes().shutdown().await.unwrap();
    }

    /// Disconnects with a reset, without a half-close before it.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Disconnects with unread bytes of the server.
    pub(crate) async fn close_unread(self) {
        timeout(SOON, self.stream.tcp().readable()).await.expect("the server says something").unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let sent = async {
            self.stream.bytes().write_all(bytes).await?;
            self.stream.bytes().flush().await
        };
        timeout(SOON, sent).await.expect("the server reads")
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += "host: localhost\r\n";
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        self.send(head.as_bytes()).await.unwrap();
        // The response may come before the server has read everything.
        let _ = self.send(body).await;
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.request(method, path, headers, body).await;
        self.answer(method).await
    }

    /// Reads the head of a response: its status.
    pub(crate) async fn status(&mut self) -> u16 {
        self.head().await.status
    }

    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head().await;
        if answer.status == 204 || method == "HEAD" {
            return answer;
        }
        match answer.header("content-length") {
            Some(length) => {
                let length = length.parse().unwrap();
                while self.read.len() < length {
                    assert!(self.more().await, "the body is cut off");
                }
                answer.body = self.read.drain(..length).collect();
            }
            None => {
                while let Some(chunk) = self.chunk().await.expect("the body is cut off") {
                    answer.body.extend(chunk);
                }
            }
        }
        answer
    }

    /// Reads up to a text, which must come.
    pub(crate) async fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = find(&self.read, text.as_bytes()) {
                self.read.drain(..at + text.len());
                return;
            }
            assert!(self.more().await, "no {text:?}");
        }
    }

    /// Sends a request and waits for the head of an event stream.
    pub(crate) async fn stream(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Stream {
        self.request(method, path, headers, body.as_bytes()).await;
        self.opened().await
    }

    /// Reads the head of an event stream.
    pub(crate) async fn opened(mut self) -> Stream {
        let head = self.head().await;
        assert_eq!(head.status, 200);
        Stream { client: self, head, text: String::new() }
    }

    async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await, "no answer");
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next().unwrap().splitn(3, ' ');
        assert_eq!(first.next(), Some("HTTP/1.1"));
        Answer {
            status: first.next().unwrap().parse().unwrap(),
            reason: first.next().unwrap_or_default().to_owned(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    /// The next chunk of a body; `Err` if the connection ends within it.
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, ()> {
        loop {
            if let Some(line) = find(&self.read, b"\r\n") {
                let size = std::str::from_utf8(&self.read[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.read.len() >= line + 2 + size + 2 {
                    let chunk = self.read[line + 2..line + 2 + size].to_vec();
                    self.read.drain(..line + 2 + size + 2);
                    return Ok(Some(chunk).filter(|chunk| !chunk.is_empty()));
                }
            }
            if !self.more().await {
                return Err(());
            }
        }
    }

    /// Reads more bytes; `false` at the end of the connection.
    pub(crate) async fn more(&mut self) -> bool {
        let read = timeout(SOON, self.stream.bytes().read_buf(&mut self.read)).await;
        read.expect("the server says something or hangs up").is_ok_and(|bytes| bytes > 0)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// An open event stream.
pub(crate) struct Stream {
    client: Client,
    head: Answer,
    text: String,
}

impl Stream {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The connection of the stream.
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The next block that is not a comment.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            match self.block().await {
                Some(block) if block.starts_with(':') => {}
                block => return block,
            }
        }
    }

    /// The next block up to its blank line, without it; `None` at the end of the body.
    pub(crate) async fn block(&mut self) -> Option<String> {
        self.next().await.expect("the stream is cut off")
    }

    /// As [`Stream::block`]; `Err` if the connection ends before the body does.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, ()> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Ok(Some(block));
            }
            match self.client.chunk().await? {
                Some(chunk) => self.text += std::str::from_utf8(&chunk).unwrap(),
                None => {
                    assert_eq!(self.text, "", "the last event has no blank line");
                    return Ok(None);
                }
            }
        }
    }

    /// Every block until the end of the body.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut blocks = Vec::new();
        while let Some(block) = self.block().await {
            blocks.push(block);
        }
        blocks
    }
}
