//! A small HTTP server of files. It can redirect, cut a body, and hold it until the test lets it go.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

/// What the server does with a request.
pub enum Answer {
    /// Sends this file.
    File(Vec<u8>),
    /// Sends another location.
    Redirect(String),
    /// Sends an error.
    Status(u16),
    /// Sends the head of this file and so many bytes of it, and closes the connection.
    Cut(Vec<u8>, usize),
    /// Announces this many bytes, sends these, and then waits until the client goes away.
    Hang(u64, Vec<u8>),
    /// Sends a message and waits for one before it sends this file.
    Hold(Vec<u8>, mpsc::Sender<()>, mpsc::Receiver<()>),
}

#[derive(Default)]
struct State {
    /// The next answers of each path; the last one is repeated, if it can be.
    answers: BTreeMap<String, Vec<Answer>>,
    requests: Vec<String>,
    gone_away: usize,
}

/// A running server. Its address is refused once it is dropped.
pub struct FileServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    ends: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl FileServer {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, ends) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (shared, until) = (state.clone(), ends.clone());
        let listening = thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !until.load(Ordering::SeqCst)) {
                let state = shared.clone();
                // A client may disconnect at any time.
                thread::spawn(move || drop(answer(stream.unwrap(), &state)));
            }
        });
        Self { address, state, ends, listening: Some(listening) }
    }

    /// The URL of a path that begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets the next answers of a path, without its query.
    pub fn on(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        self.state.lock().unwrap().answers.insert(path.to_owned(), answers);
    }

    /// The heads of all requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// How many clients went away while an answer hung.
    pub fn gone_away(&self) -> usize {
        self.state.lock().unwrap().gone_away
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it must end.
        let _ = TcpStream::connect(self.address);
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

/// One request per connection.
fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return Ok(()) };
    let path = path.split('?').next().unwrap_or(path);
    let next = {
        let mut state = state.lock().unwrap();
        state.requests.push(head.join("\n"));
        let answers = state.answers.entry(path.to_owned()).or_default();
        match &answers[..] {
            [Answer::File(file)] => Some(Answer::File(file.clone())),
            [Answer::Status(status)] => Some(Answer::Status(*status)),
            [Answer::Redirect(to)] => Some(Answer::Redirect(to.clone())),
            _ => answers.pop(),
        }
    };
    let ok =
        |length: u64| format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    match next.unwrap_or(Answer::Status(404)) {
        Answer::File(file) => {
            stream.write_all(ok(file.len() as u64).as_bytes())?;
            stream.write_all(&file)
        }
        Answer::Redirect(to) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes())
        }
        Answer::Status(status) => {
            let head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes())
        }
        Answer::Cut(file, after) => {
            stream.write_all(ok(file.len() as u64).as_bytes())?;
            stream.write_all(&file[..after])
        }
        Answer::Hang(length, begin) => {
            stream.write_all(ok(length).as_bytes())?;
            stream.write_all(&begin)?;
            // Ends when the client closes the connection.
            let _ = stream.read(&mut [0; 1]);
            state.lock().unwrap().gone_away += 1;
            Ok(())
        }
        Answer::Hold(file, asked, go) => {
            let _ = asked.send(());
            let _ = go.recv();
            stream.write_all(ok(file.len() as u64).as_bytes())?;
            stream.write_all(&file)
        }
    }
}

/// A LoRA's file: one tensor with a LoRA's name and this many bytes of data, each of them `fill`.
pub fn lora(data: usize, fill: u8) -> Vec<u8> {
    safetensors("lora_unet_x.lora_up.weight", data, fill)
}

/// A safetensors file with one tensor.
pub fn safetensors(name: &str, data: usize, fill: u8) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{data}],"data_offsets":[0,{data}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![fill; data]].concat()
}
