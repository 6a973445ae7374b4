//! A running API, a client over a raw socket, and workers that a test controls.

mod client;
pub(crate) mod fal;
mod secure;
mod shelf;
mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use glimpse_api::{Config, Listening, serve};
use glimpse_shared::{
    event::Frame,
    id::{App, JobId, Micros},
    job::{JobState, Status},
    store::{Clock, Lease, Rules, SharedStore, Shown, memory::MemoryStore},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::Instant};

pub(crate) use client::{Answer, Client, SOON, Stream};
pub(crate) use secure::Secure;
pub(crate) use shelf::Shelf;
pub(crate) use worker::{Worker, picture, record};

/// The app that every stack serves.
pub(crate) fn demo() -> App {
    "glimpse/demo".parse().unwrap()
}

/// The response to the submit of the job `id`, if no job is ahead of it.
pub(crate) fn accepted(id: &str) -> Value {
    json!({
        "id": id, "app": "glimpse/demo", "status": "queued", "position": 0,
        "urls": {
            "job": format!("/v1/jobs/{id}"),
            "events": format!("/v1/jobs/{id}/events"),
            "image": format!("/v1/jobs/{id}/image"),
        },
    })
}

/// An API with its own store.
pub(crate) struct Stack {
    pub(crate) address: SocketAddr,
    pub(crate) store: SharedStore,
    pub(crate) clock: Clock,
    /// What clients need for https; without it they speak http.
    pub(crate) secure: Option<Secure>,
    shutdown: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Stack {
    /// With one registered idle worker.
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    /// With a certificate of its own; its clients speak https.
    pub(crate) async fn secure() -> Self {
        Self::secure_with(Config::default()).await
    }

    pub(crate) async fn secure_with(mut config: Config) -> Self {
        let secure = Secure::new(&mut config);
        let mut stack = Self::with(config).await;
        stack.secure = Some(secure);
        stack
    }

    pub(crate) async fn with(config: Config) -> Self {
        let clock = Clock::manual(Micros(1_700_000_000_000_000));
        let store = Arc::new(MemoryStore::new(config.rules(), clock.clone()));
        let stack = Self::over(store, config, clock).await;
        stack.store.heartbeat(&record("one", &demo())).await.unwrap();
        stack
    }

    pub(crate) async fn over(store: SharedStore, config: Config, clock: Clock) -> Self {
        Self::at("127.0.0.1:0", store, config, clock).await
    }

    /// An API that listens on `place`.
    pub(crate) async fn at(place: &str, store: SharedStore, config: Config, clock: Clock) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, asked) = oneshot::channel();
        let end = async {
            let _ = asked.await;
        };
        let listening = Listening::new(listener, config.open_tls().unwrap());
        let served = tokio::spawn(serve(listening, store.clone(), config, end));
        Self { address, store, clock, secure: None, shutdown: Some(shutdown), served }
    }

    /// A registered worker that the test controls.
    pub(crate) fn worker(&self) -> Worker {
        Worker::new(self.store.clone(), demo())
    }

    /// A worker that completes every job at once.
    pub(crate) fn diligent_worker(&self) -> JoinHandle<()> {
        let mut worker = self.worker();
        tokio::spawn(async move {
            loop {
                worker.make_next().await;
            }
        })
    }

    pub(crate) async fn client(&self) -> Client {
        match &self.secure {
            Some(secure) => Client::secure(self.address, secure.client(&[])).await.unwrap(),
            None => Client::connect(self.address).await,
        }
    }

    /// One request on a new connection.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.client().await.ask(method, path, &[], body.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, body).await
    }

    /// Submits on our own route and returns the id.
    pub(crate) async fn submit(&self, prompt: &str) -> JobId {
        let body = serde_json::json!({ "app": "glimpse/demo", "prompt": prompt, "seed": 7 }).to_string();
        let answer = self.post("/v1/jobs", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn status(&self, id: JobId) -> JobState {
        self.store.status(id).await.unwrap().expect("the job is known")
    }

    /// The newest event of its log.
    pub(crate) async fn newest(&self, id: JobId) -> Frame {
        let (_, newest) = self.store.status_with(id, Shown::Newest).await.unwrap().expect("the job is known");
        newest.expect("its log is not empty")
    }

    /// A client of fal's stream that has received a preview, and the worker of its job.
    pub(crate) async fn stream_with_preview(&self) -> (Stream, Worker, Lease) {
        let mut worker = self.worker();
        let mut client = self.client().await;
        client.request("POST", "/glimpse/demo/stream", &[], br#"{"prompt":"a heart","seed":1}"#).await;
        let mut lease = worker.claim().await;
        worker.preview(&mut lease, 0).await;
        let mut stream = client.opened().await;
        stream.block().await.unwrap();
        (stream, worker, lease)
    }

    /// Waits until the job has a status.
    pub(crate) async fn until(&self, id: JobId, status: Status) {
        let deadline = Instant::now() + SOON;
        while self.status(id).await.status != status {
            assert!(Instant::now() < deadline, "the job is {:?}", self.status(id).await.status);
            tokio::task::yield_now().await;
        }
    }

    /// Starts the shutdown and waits for its end.
    pub(crate) async fn shut_down(&mut self) {
        self.ask_to_end();
        (&mut self.served).await.unwrap().unwrap();
    }

    /// Ends everything at once, as a kill does.
    pub(crate) async fn kill(self) {
        self.served.abort();
        // The error says that it was aborted.
        let _ = self.served.await;
    }

    pub(crate) fn ask_to_end(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        Rules::default().lease
    }
}
