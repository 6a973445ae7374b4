//! A fake Redis server with the replies of a test: for old versions and rare states.

use std::{
    io::{BufReader, Write},
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
