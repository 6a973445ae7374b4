//! A fake Redis server with the replies of a test: for old versions and rare states.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use crate::resp;

/// Answers each command with the test's RESP.
#[derive(Debug)]
pub struct FakeRedis {
    address: SocketAddr,
}

type Answers = dyn Fn(&[&str]) -> String + Send + Sync;

impl FakeRedis {
    /// Answers every command with the result of `answers` for its words.
    pub fn start(answers: impl Fn(&[&str]) -> String + Send + Sync + 'static) -> Self {
        let answers: Arc<Answers> = Arc::new(answers);
        Self::accepting(move |stream| serve(stream, &*answers))
    }

    /// Sends one line to every client and closes the connection, as Redis does in protected mode and at its limit of
    /// clients.
    pub fn that_says(line: &str) -> Self {
        let line = format!("{line}\r\n");
        Self::accepting(move |mut stream| {
            // The client may be gone.
            let _ = stream.write_all(line.as_bytes());
        })
    }

    /// Sends the same bytes in reply to whatever a client sends, as a server of another protocol does.
    pub fn that_replies(reply: &str) -> Self {
        let reply = reply.to_owned();
        Self::accepting(move |mut stream| {
            let mut input = [0; 4096];
            // Until the client is gone.
            while stream.read(&mut input).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(reply.as_bytes());
            }
        })
    }

    /// A server of version 7 that answers `command` with this error, and other commands like one that has no data.
    pub fn that_refuses(command: &'static str, error: &str) -> Self {
        let error = format!("-{error}\r\n");
        Self::start(move |words| match words[0].to_ascii_uppercase().as_str() {
            name if name == command => error.clone(),
            "HELLO" => list(&["server", "redis", "version", "7.0.15", "mode", "standalone"]),
            "INFO" => text("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"),
            // The script that returns the time has one key and no arguments.
            "EVAL" | "EVALSHA" if words.len() == 4 => text("1700000000000000"),
            "EVAL" | "EVALSHA" => "*0\r\n".to_owned(),
            name @ ("SSUBSCRIBE" | "SUNSUBSCRIBE") => {
                let (kind, channel) = (text(&name.to_lowercase()), text(words[1]));
                format!(">3\r\n{kind}{channel}:0\r\n")
            }
            _ => "+OK\r\n".to_owned(),
        })
    }

    /// Answers only `HELLO` and `INFO`, with this version.
    pub fn of_version(server: &str, version: &str) -> Self {
        let (server, version) = (server.to_owned(), version.to_owned());
        Self::start(move |words| match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => list(&["server", &server, "version", &version, "mode", "standalone"]),
            "INFO" => text(&format!("# Server\r\n{server}_version:{version}\r\nredis_mode:standalone\r\n")),
            _ => "+OK\r\n".to_owned(),
        })
    }

    /// The port that it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `redis://…`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn accepting(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port");
        let serve = Arc::new(serve);
        // The thread runs until the test process ends.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }
}

fn serve(stream: TcpStream, answers: &Answers) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut commands = BufReader::new(stream);
    while let Ok(command) = resp::read(&mut commands) {
        let words = command.texts();
        if words.is_empty() || out.write_all(answers(&words).as_bytes()).is_err() {
            return;
        }
    }
}

/// A text as RESP.
pub fn text(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A list of texts as RESP.
pub fn list(texts: &[&str]) -> String {
    let items: String = texts.iter().map(|item| text(item)).collect();
    format!("*{}\r\n{items}", texts.len())
}
