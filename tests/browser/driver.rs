//! One chromedriver for all tests that run at the same time.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The timeout for everything that must happen, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The driver that some test uses at the moment.
static RUNNING: Mutex<Weak<Driver>> = Mutex::new(Weak::new());

/// A running chromedriver. It ends, with its browsers, when the last test lets it go.
pub struct Driver {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Driver {
    /// The running driver, or a new one.
    pub fn shared() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let driver = Arc::new(Self::start());
            *running = Arc::downgrade(&driver);
            driver
        })
    }

    /// `http://…`, for WebDriver commands.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (scripts/test installs it)");
        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(&out).unwrap();
            if let Some(port) = port_in(&said) {
                return Self { process, port, _folder: folder };
            }
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < SOON,
                "chromedriver does not start: {ended:?} {said}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The port of the line `ChromeDriver was started successfully on port N.`
fn port_in(said: &str) -> Option<u16> {
    said.split_once("successfully on port ")?.1.split_once('.')?.0.parse().ok()
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It closes the browsers that are still open.
        if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = "GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let _ = connection.set_read_timeout(Some(SOON));
            let _ = connection.write_all(request.as_bytes());
            let _ = connection.read_to_end(&mut Vec::new());
        }
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
