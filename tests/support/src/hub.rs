//! A fake Hub with one model. It serves the model's files by commit: small files after a redirect to the same address,
//! large files after a redirect to another address. It records requests, and a test can cause errors.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use sha2::{Digest, Sha256};

/// One request as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRequest {
    /// Whether it came to the address behind the redirects.
    pub cdn: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Without the host.
    pub path: String,
    /// The first byte that was requested.
    pub from: Option<usize>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<HubRequest>,
    /// For each file: after how many bytes the connection is closed, one number for each of the next bodies.
    cuts: BTreeMap<String, Vec<usize>>,
    damaged: Vec<String>,
    refusal: Option<(u16, &'static str)>,
}

/// A running Hub. Its addresses are refused once it is dropped.
pub struct HubServer {
    id: String,
    hub: SocketAddr,
    cdn: SocketAddr,
    state: Arc<Mutex<State>>,
    gone: Arc<AtomicBool>,
    listening: Vec<JoinHandle<()>>,
}

/// The commit of `main`, unless a test changes it.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl HubServer {
    /// Serves the files in `folder` as the model `id`.
    pub fn of(id: &str, folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let [hub, cdn] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [hub_at, cdn_at] = [&hub, &cdn].map(|listener| listener.local_addr().unwrap());
        let gone = Arc::new(AtomicBool::new(false));
        let listening = [(hub, false), (cdn, true)].map(|(listener, is_cdn)| {
            let (state, gone, id) = (state.clone(), gone.clone(), id.to_owned());
            thread::spawn(move || {
                for stream in listener.incoming().take_while(|_| !gone.load(Ordering::SeqCst)) {
                    let (state, id) = (state.clone(), id.clone());
                    thread::spawn(move || {
                        let answer = Answer { id: &id, state: &state, cdn: is_cdn, cdn_at };
                        // A client may disconnect at any time.
                        let _ = answer.to(stream.unwrap());
                    });
                }
            })
        });
        Self { id: id.to_owned(), hub: hub_at, cdn: cdn_at, state, gone, listening: listening.into() }
    }

    /// The value for HF_ENDPOINT.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Where redirects lead.
    pub fn cdn(&self) -> String {
        format!("http://{}", self.cdn)
    }

    /// All requests since the last call.
    pub fn requests(&self) -> Vec<HubRequest> {
        std::mem::take(&mut self.state().asked)
    }

    /// The names of the files whose contents were requested, one entry per request.
    pub fn downloads(&self) -> Vec<String> {
        let prefix = format!("/{}/resolve/{COMMIT}/", self.id);
        let gets = self.requests().into_iter().filter(|asked| asked.method == "GET" && !asked.cdn);
        gets.filter_map(|asked| Some(asked.path.strip_prefix(&prefix)?.to_owned())).collect()
    }

    /// Adds a file, or replaces it.
    pub fn put(&self, file: &str, contents: &[u8]) {
        self.state().files.insert(file.to_owned(), contents.to_owned());
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) {
        self.state().files.remove(file).unwrap();
    }

    /// Closes the connection of the next bodies of `file`, each after the given number of bytes.
    pub fn cut(&self, file: &str, after: &[usize]) {
        self.state().cuts.insert(file.to_owned(), after.to_owned());
    }

    /// Changes one byte in all bodies of `file`.
    pub fn damage(&self, file: &str) {
        self.state().damaged.push(file.to_owned());
    }

    /// Answers every request with this status and `X-Error-Code`.
    pub fn refuse(&self, status: u16, code: &'static str) {
        self.state().refusal = Some((status, code));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        for (address, listening) in [self.hub, self.cdn].into_iter().zip(self.listening.drain(..)) {
            // Wakes the listener, which then sees that it must end.
            let _ = TcpStream::connect(address);
            let _ = listening.join();
        }
    }
}

struct Answer<'a> {
    id: &'a str,
    state: &'a Mutex<State>,
    cdn: bool,
    cdn_at: SocketAddr,
}

impl Answer<'_> {
    /// One request per connection.
    fn to(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut asked = HubRequest { cdn: self.cdn, method, path, from: None, authorization: None };
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    asked.from = value.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().ok()
                }
                "authorization" => asked.authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut state = self.state.lock().unwrap();
        state.asked.push(asked.clone());
        let answer = match state.refusal {
            Some((status, code)) => head(status, &[("X-Error-Code", code), ("Content-Length", "0")]).into(),
            None => self.choose(&asked, &mut state),
        };
        drop(state);
        stream.write_all(&answer)
    }

    fn choose(&self, asked: &HubRequest, state: &mut State) -> Vec<u8> {
        let missing = |code| head(404, &[("X-Error-Code", code), ("Content-Length", "0")]).into();
        let id = self.id;
        let path = asked.path.as_str();
        if self.cdn {
            let file = path.strip_prefix('/').and_then(|path| path.strip_suffix("?Signature=secret"));
            return file.map_or_else(|| missing("EntryNotFound"), |file| contents(file, &[], asked, state));
        }
        if let Some(revision) = path.strip_prefix(&format!("/api/models/{id}/revision/")) {
            if !["main", COMMIT, "refs%2Fpr%2F1"].contains(&revision) {
                return missing("RevisionNotFound");
            }
            let names: Vec<_> =
                state.files.keys().map(|name| format!("{{\"rfilename\":\"{name}\"}}")).collect();
            let body = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", names.join(","));
            return format!("{}{body}", head(200, &[("Content-Length", &body.len().to_string())])).into();
        }
        let resolved = format!("/{id}/resolve/{COMMIT}/");
        let cached = format!("/api/resolve-cache/models/{id}/{COMMIT}/");
        let Some(file) = path.strip_prefix(&resolved).or_else(|| path.strip_prefix(&cached)) else {
            return missing("RepoNotFound");
        };
        let Some(bytes) = state.files.get(file) else { return missing("EntryNotFound") };
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if path.starts_with(&cached) {
            let etag = format!("\"{}\"", &hash[..40]);
            return contents(file, &[("ETag", &etag), ("X-Repo-Commit", COMMIT)], asked, state);
        }
        if !file.ends_with(".safetensors") {
            let location = format!("{cached}{file}");
            return head(307, &[("Location", &location), ("Content-Length", "0")]).into();
        }
        head(
            302,
            &[
                ("Location", &format!("http://{}/{file}?Signature=secret", self.cdn_at)),
                ("X-Repo-Commit", COMMIT),
                ("X-Linked-Size", &bytes.len().to_string()),
                ("X-Linked-Etag", &format!("\"{hash}\"")),
                ("Content-Length", "0"),
            ],
        )
        .into()
    }
}

fn contents(file: &str, headers: &[(&str, &str)], asked: &HubRequest, state: &mut State) -> Vec<u8> {
    let mut bytes = state.files[file].clone();
    if state.damaged.iter().any(|name| name == file) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let from = asked.from.unwrap_or(0);
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    let length = (bytes.len() - from).to_string();
    let mut headers = [&[("Content-Length", length.as_str())], headers].concat();
    if asked.from.is_some() {
        headers.push(("Content-Range", &range));
    }
    let mut answer: Vec<u8> = head(if asked.from.is_some() { 206 } else { 200 }, &headers).into();
    if asked.method == "GET" {
        let cuts = state.cuts.entry(file.to_owned()).or_default();
        let end = if cuts.is_empty() { bytes.len() } else { from + cuts.remove(0) };
        answer.extend(&bytes[from..end]);
    }
    answer
}

fn head(status: u16, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n{lines}\r\n")
}
