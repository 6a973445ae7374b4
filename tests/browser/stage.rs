//! A server whose worker does what the test says, step by step: an API, a Redis, and a proxy between it and the browser.

use std::{io::Cursor, sync::Arc, time::Duration};

use glimpse_shared::{
    event::{FailureCode, Image, Timings},
    id::{App, WorkerId},
    job::{WorkerRecord, WorkerState},
    store::{
        Claim, Clock, Ending, Lease, Preview, Rules, SharedStore,
        redis::{Prefix, RedisStore, RedisUrl},
    },
};
use glimpse_test_support::{Proxy, RedisServer};
use image::{Rgb, RgbImage};
use tokio::task::JoinHandle;

use crate::{driver::SOON, process::Process};

/// The side of every picture in pixels.
pub const SIDE: u32 = 128;

/// An API, and a worker's place in its fleet that the test fills.
pub struct Stage {
    pub proxy: Proxy,
    api: Process,
    api_port: u16,
    redis: RedisServer,
    store: SharedStore,
    app: App,
    id: WorkerId,
    claims: u64,
    beating: JoinHandle<()>,
}

impl Stage {
    pub async fn start() -> Self {
        Self::with(&[], |_| {}).await
    }

    /// With these flags of the API, and a worker that says these things of itself.
    pub async fn with(flags: &[&str], describe: impl FnOnce(&mut WorkerRecord)) -> Self {
        let redis = RedisServer::start();
        let (api, api_port) = start_api(&redis, "127.0.0.1:0", flags).await;
        let url: RedisUrl = redis.url().parse().unwrap();
        let prefix: Prefix = "glimpse".parse().unwrap();
        let store = RedisStore::connect(&url, &prefix, Rules::default(), Clock::Store).unwrap();
        let store: SharedStore = Arc::new(store);
        let mut record = record();
        describe(&mut record);
        let (app, id) = (record.app.clone(), record.id.clone());
        store.heartbeat(&record).await.unwrap();
        let beating = tokio::spawn({
            let store = store.clone();
            async move {
                let mut beats = tokio::time::interval(Duration::from_secs(5));
                loop {
                    beats.tick().await;
                    // Redis is away in some tests.
                    let _ = store.heartbeat(&record).await;
                }
            }
        });
        let proxy = Proxy::before(api_port);
        Self { proxy, api, api_port, redis, store, app, id, claims: 0, beating }
    }

    /// The server's address for the browser, through the proxy.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port())
    }

    /// Claims the next job, whose lease is renewed until it ends.
    pub async fn claim(&mut self) -> Running {
        self.claims += 1;
        let capabilities = record().capabilities();
        let (worker, app) = (self.id.clone(), self.app.clone());
        let claim = Claim { worker, app, affinity: None, capabilities, number: self.claims };
        let claimed = async {
            loop {
                if let Some(lease) = self.store.try_claim(&claim).await.unwrap() {
                    return lease;
                }
                self.store.wait_for_work(&self.app, &claim.capabilities).await.unwrap();
            }
        };
        let lease = tokio::time::timeout(SOON, claimed).await.expect("the page sends a job");
        Running::new(self.store.clone(), lease)
    }

    /// How many jobs the server was sent.
    pub async fn jobs(&self) -> usize {
        let listing = glimpse_shared::store::Listing {
            tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
            status: None,
            before: None,
            limit: 100,
        };
        self.store.jobs(&listing).await.unwrap().unwrap().len()
    }

    /// Ends the API as a crash would, and starts another at the same address.
    pub async fn restart_api(&mut self) {
        self.api.kill();
        self.proxy.cut();
        let (api, port) = start_api(&self.redis, &format!("127.0.0.1:{}", self.api_port), &[]).await;
        assert_eq!(port, self.api_port);
        self.api = api;
    }

    /// Takes the server off the network, or puts it back.
    pub fn unplug(&self, unplugged: bool) {
        self.proxy.refuse(unplugged);
        if unplugged {
            self.proxy.cut();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

async fn start_api(redis: &RedisServer, listen: &str, flags: &[&str]) -> (Process, u16) {
    let url = redis.url();
    let mut api =
        Process::start("glimpse-api", &[&["--redis-url", &url, "--listen", listen], flags].concat());
    let port = api.port().await;
    (api, port)
}

/// A worker of the demo's app.
fn record() -> WorkerRecord {
    let features =
        ["image", "mask", "loras", "prompt_syntax", "long_prompt", "hires", "seeds", "finish_at_step"];
    WorkerRecord {
        id: WorkerId::new("stage"),
        app: "glimpse/demo".parse().unwrap(),
        native_width: SIDE,
        native_height: SIDE,
        max_pixels: 512 * 512,
        schedulers: ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler"].map(str::to_owned).to_vec(),
        features: features.map(str::to_owned).to_vec(),
        loras: vec!["ink".to_owned()],
        model: None,
        device: "cpu".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
    }
}

/// A job that the test's worker runs.
pub struct Running {
    store: SharedStore,
    pub lease: Lease,
    renewing: JoinHandle<()>,
}

impl Running {
    fn new(store: SharedStore, lease: Lease) -> Self {
        let renewing = tokio::spawn({
            let (store, lease) = (store.clone(), lease.clone());
            async move {
                let mut renewals = tokio::time::interval(Duration::from_secs(3));
                loop {
                    renewals.tick().await;
                    let _ = store.renew(&lease, None).await;
                }
            }
        });
        Self { store, lease, renewing }
    }

    /// Sends the preview after a step.
    pub async fn preview(&mut self, step: u32) {
        let steps = self.lease.job.spec.num_inference_steps();
        let preview = Preview::new(self.lease.attempt, step, steps, picture(step));
        self.store.publish(&mut self.lease, &preview).await.unwrap();
    }

    /// Ends the job with its pictures.
    pub async fn complete(mut self) {
        let spec = &self.lease.job.spec;
        let images = (0..spec.num_images()).map(|index| picture(200 + index)).collect();
        let timings = Timings { inference: 1.5, decode: 0.25 };
        let ending = Ending::completed(images, spec.seed(), timings, Vec::new());
        self.store.finish(&mut self.lease, &ending).await.unwrap();
    }

    /// Ends it without.
    pub async fn fail(mut self, message: &str) {
        let ending = Ending::failed(FailureCode::Internal, message.to_owned());
        self.store.finish(&mut self.lease, &ending).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// A JPEG whose colours depend on a number.
fn picture(number: u32) -> Image {
    let [red, green] = [number * 37 % 256, number * 91 % 256].map(|value| value as u8);
    let pixels = RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([red ^ x as u8, green ^ y as u8, (x + y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    Image::new("image/jpeg", SIDE, SIDE, bytes.get_ref())
}
