//! An API with a store in memory, and raw requests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use glimpse_api::{Config, serve};
use glimpse_shared::{
    event::{CancelledBy, FailureCode},
    id::{App, JobId, WorkerId},
    job::{WorkerRecord, WorkerState},
    needs::Capabilities,
    store::{Cancel, Claim, Clock, Ending, SharedStore, memory::MemoryStore},
};
use glimpse_test_support::SOON;
use tokio::{net::TcpListener, runtime::Runtime};

pub(crate) struct Server {
    address: SocketAddr,
    /// An ended job.
    pub(crate) ended: JobId,
    /// A job that the store has forgotten.
    pub(crate) lost: JobId,
    panics: Arc<AtomicUsize>,
    _runtime: Runtime,
}

/// The start of a response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) bytes: Vec<u8>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let panics = Arc::new(AtomicUsize::new(0));
        let (counted, before) = (panics.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            // The server's threads all have this name.
            if std::thread::current().name() == Some(SERVER) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(SERVER)
            .enable_all()
            .build()
            .unwrap();
        let config = Config::default();
        let store: SharedStore = Arc::new(MemoryStore::new(config.rules(), Clock::Store));
        let (address, store, capabilities) = runtime.block_on(async {
            let worker = WorkerRecord {
                id: "gpu-1".parse().unwrap(),
                app: "glimpse/demo".parse().unwrap(),
                native_width: 128,
                native_height: 128,
                max_pixels: 512 * 512,
                schedulers: vec!["EulerDiscreteScheduler".to_owned()],
                features: [
                    "image",
                    "mask",
                    "loras",
                    "lora_scales",
                    "scheduler_config",
                    "prompt_syntax",
                    "long_prompt",
                    "refiner",
                    "aesthetic_score",
                    "padding_mask_crop",
                    "hires",
                ]
                .map(str::to_owned)
                .to_vec(),
                loras: vec!["ink".to_owned()],
                device: "cpu".to_owned(),
                version: "0".to_owned(),
                state: WorkerState::Idle,
                progress: None,
                results: None,
                model: None,
            };
            store.heartbeat(&worker).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, store.clone(), config, std::future::pending()));
            (address, store, worker.capabilities())
        });
        let job = |key: &str| {
            let body = r#"{"app":"glimpse/demo","prompt":"a fox"}"#;
            let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: ";
            let rest = format!("{key}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let answer = ask(address, [head, &rest].concat().as_bytes());
            assert_eq!(answer.status, 202);
            let text = String::from_utf8(answer.bytes).unwrap();
            let id = text.split_once("/v1/jobs/").and_then(|(_, id)| id.get(..36)).unwrap();
            id.parse::<JobId>().unwrap()
        };
        let (ended, lost) = (job("ended"), job("lost"));
        runtime.block_on(async {
            for id in [ended, lost] {
                assert_eq!(store.cancel(id, CancelledBy::Client).await.unwrap(), Cancel::Cancelled);
            }
            store.forget(lost).await.unwrap();
        });
        runtime.spawn(fail_all(store, capabilities));
        Self { address, ended, lost, panics, _runtime: runtime }
    }

    /// Sends bytes and reads the whole response.
    pub(crate) fn ask(&self, request: &[u8]) -> Answer {
        ask(self.address, request)
    }

    /// How many of the server's tasks have panicked.
    pub(crate) fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }
}

const SERVER: &str = "server";

/// A worker that fails every job, so that every stream ends.
async fn fail_all(store: SharedStore, capabilities: Capabilities) {
    let (worker, app): (WorkerId, App) = ("gpu-1".parse().unwrap(), "glimpse/demo".parse().unwrap());
    for number in 1.. {
        let claim = Claim {
            worker: worker.clone(),
            app: app.clone(),
            affinity: None,
            capabilities: capabilities.clone(),
            number,
        };
        let mut lease = loop {
            match store.try_claim(&claim).await.unwrap() {
                Some(lease) => break lease,
                None => store.wait_for_work(&app, &capabilities).await.unwrap(),
            }
        };
        let ending = Ending::failed(FailureCode::BadRequest, "a test".to_owned());
        store.finish(&mut lease, &ending).await.unwrap();
    }
}

fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => bytes.extend(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no whole answer: {error}, {}", String::from_utf8_lossy(&bytes)),
        }
    }
    let status = bytes.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    Answer { status: status.unwrap_or(0), bytes }
}
