//! A receiver of webhooks: an HTTP server that records every call and answers as the test says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// One call as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCall {
    /// The path and the query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// When its last byte arrived.
    pub at: Instant,
    /// Whether the answer was 2xx, and was written completely.
    pub acknowledged: bool,
}

impl WebhookCall {
    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// How a receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// With this status, after this time.
    Status(u16, Duration),
    /// 200 with this body.
    Body(String),
    /// With a redirect to this address.
    Redirect(String),
    /// 200, and a body that does not end.
    Endless,
    /// Nothing, as long as the client waits.
    Silence,
    /// It closes the connection.
    Close,
}

impl WebhookAnswer {
    /// 200 at once.
    pub const OK: Self = Self::Status(200, Duration::ZERO);

    /// This status at once.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Duration::ZERO)
    }
}

/// Answers a call. The number counts the calls to the same path, from 0.
type Answering = dyn Fn(usize, &WebhookCall) -> WebhookAnswer + Send + Sync;

/// A running receiver. Its address is refused once it is dropped.
pub struct WebhookReceiver {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<WebhookCall>>>,
    gone: Arc<AtomicBool>,
}

impl WebhookReceiver {
    /// Listens on a free port of this machine.
    pub fn start(answering: impl Fn(usize, &WebhookCall) -> WebhookAnswer + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answering)
    }

    /// Listens on an address.
    pub fn at(
        address: &str,
        answering: impl Fn(usize, &WebhookCall) -> WebhookAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, gone): (Arc<Mutex<Vec<_>>>, Arc<AtomicBool>) = Default::default();
        let answering: Arc<Answering> = Arc::new(answering);
        let (recorded, ended) = (calls.clone(), gone.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), calls, answering) = (stream, recorded.clone(), answering.clone()) else {
                    continue;
                };
                // It ends when the client disconnects; an error means that it has.
                thread::spawn(move || serve(stream, &calls, &answering));
            }
        });
        Self { address, calls, gone }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The calls so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<WebhookCall> {
        lock(&self.calls).clone()
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    calls: &Mutex<Vec<WebhookCall>>,
    answering: &Arc<Answering>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(call) = read(&mut reader)? else { return Ok(()) };
    let (at, number) = {
        let mut calls = lock(calls);
        let number = calls.iter().filter(|known| known.path == call.path).count();
        calls.push(call.clone());
        (calls.len() - 1, number)
    };
    let acknowledged = answer(stream, answering(number, &call))?;
    lock(calls)[at].acknowledged = acknowledged;
    Ok(())
}

/// Reads a request; `None` if the client closed the connection before it.
fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<WebhookCall>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    Ok(Some(WebhookCall { path, headers, body, at: Instant::now(), acknowledged: false }))
}

/// Returns whether the call was acknowledged.
fn answer(mut stream: TcpStream, answer: WebhookAnswer) -> std::io::Result<bool> {
    match answer {
        WebhookAnswer::Status(status, after) => {
            thread::sleep(after);
            write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")?;
            Ok((200..300).contains(&status))
        }
        WebhookAnswer::Body(body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
            Ok(true)
        }
        WebhookAnswer::Redirect(target) => {
            write!(
                stream,
                "HTTP/1.1 307 Moved\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )?;
            Ok(false)
        }
        WebhookAnswer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            // It ends when the client closes the connection.
            while stream.write_all(&[b'.'; 4096]).is_ok() {}
            Ok(true)
        }
        WebhookAnswer::Silence => {
            // The end of the stream, when the client gives up.
            let _ = stream.read(&mut [0; 16]);
            Ok(false)
        }
        WebhookAnswer::Close => Ok(false),
    }
}

fn lock(calls: &Mutex<Vec<WebhookCall>>) -> MutexGuard<'_, Vec<WebhookCall>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
