//! What it costs to relay: many clients follow jobs through one `glimpse-api` while previews are published, and one
//! listener hears the same from Redis itself.
//!
//! `cargo run --release --workspace --example streams -- --redis-url redis://127.0.0.1:6379`, on a Redis that does
//! nothing else. Starts the `glimpse-api` that was built with it. Prints one line of JSON: milliseconds from before a
//! preview's publish until its last byte was read, by client and by listener, and what the API's process took.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use futures::{StreamExt, future::try_join_all};
use glimpse_shared::{
    event::{CancelledBy, Image},
    id::WorkerId,
    job::{WorkerRecord, WorkerState},
    store::{
        Claim, Clock, Lease, Preview, Rules, Store,
        redis::{RedisConfig, RedisStore},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    redis: RedisConfig,
    /// Open streams.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// Jobs that they follow.
    #[arg(long, default_value_t = 100)]
    jobs: usize,
    /// Previews of each job, at most 50.
    #[arg(long, default_value_t = 10)]
    previews: u32,
    /// Bytes of a preview's picture.
    #[arg(long, default_value_t = 10_000)]
    bytes: usize,
    /// Milliseconds between two previews of a job.
    #[arg(long, default_value_t = 2000)]
    pace: u64,
}

/// A log's first previews have the numbers from here on: before them are 1 `queued` and 2 `started`.
const BEFORE: usize = 3;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// When each preview of each job was about to be published, in microseconds after the start; by the job's place and the
/// event's seq.
struct Published {
    start: Instant,
    at: Vec<Vec<AtomicU64>>,
}

impl Published {
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Milliseconds since then; `None` of an event that is no preview.
    fn since(&self, job: usize, seq: usize) -> Option<f64> {
        let at = self.at[job].get(seq)?.load(Ordering::SeqCst);
        (at > 0).then(|| (self.now() - at) as f64 / 1000.0)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let flags = Flags::parse();
    glimpse_api::raise_connection_limit();
    let url = flags.redis.redis_url.as_ref().ok_or("--redis-url is required")?;
    let store = RedisStore::connect(url, &flags.redis.redis_prefix, Rules::default(), Clock::Store)?;
    let plain = std::env::args().skip_while(|arg| arg != "--redis-url").nth(1).ok_or("--redis-url apart")?;
    let (api, address) = start_api(&plain)?;
    let api = Api(api);

    let mut leases = claimed(&store, &address, flags.jobs).await?;
    let at = leases
        .iter()
        .map(|_| (0..BEFORE + flags.previews as usize).map(|_| AtomicU64::new(0)).collect())
        .collect();
    let published = Arc::new(Published { start: Instant::now(), at });
    let before = api.memory()?;

    let mut listener = redis::Client::open(plain)?.get_async_pubsub().await?;
    let mut channels = BTreeMap::new();
    for (place, lease) in leases.iter().enumerate() {
        let id = lease.job.id;
        let partition = id.partition().ok_or("a job without a partition")?;
        let channel = format!("{}:{{{partition}}}:log:{id}", flags.redis.redis_prefix);
        listener.subscribe(&channel).await?;
        channels.insert(channel, place);
    }
    let heard = tokio::spawn(listen(listener, channels, published.clone(), flags.jobs));
    let opening = Semaphore::new(64);
    let streams = (0..flags.streams).map(|n| open(&address, &leases[n % flags.jobs], &opening));
    let streams = try_join_all(streams).await?;
    let clients: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(n, stream)| tokio::spawn(follow(stream, n % flags.jobs, published.clone())))
        .collect();
    let opened = api.memory()?;

    let picture = vec![7; flags.bytes];
    for step in 0..flags.previews {
        let next = tokio::time::Instant::now() + Duration::from_millis(flags.pace);
        for (place, lease) in leases.iter_mut().enumerate() {
            let image = Image::new("image/jpeg", 128, 128, &picture);
            let preview = Preview::new(lease.attempt, step, flags.previews, image);
            published.at[place][BEFORE + step as usize].store(published.now(), Ordering::SeqCst);
            store.publish(lease, &preview).await?;
        }
        tokio::time::sleep_until(next).await;
    }
    for lease in &leases {
        store.cancel(lease.job.id, CancelledBy::Operator).await?;
    }
    let mut relayed = Vec::new();
    for client in clients {
        relayed.extend(client.await??);
    }
    let told = json!({
        "streams": flags.streams, "jobs": flags.jobs, "preview_bytes": flags.bytes, "pace_ms": flags.pace,
        "sent_previews": flags.streams as u64 * u64::from(flags.previews), "read_previews": relayed.len(),
        "relayed_ms": percentiles(relayed), "listener_ms": percentiles(heard.await??),
        "api_kib": { "before": before, "with_streams": opened, "most": api.line("VmHWM")? },
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

/// The API's process; ends with this one.
struct Api(Child);

impl Api {
    /// Resident, in KiB.
    fn memory(&self) -> Result<u64, Failed> {
        self.line("VmRSS")
    }

    fn line(&self, name: &str) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.and_then(|line| line.split_whitespace().next()).ok_or("no such line")?.parse()?)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_api(redis: &str) -> Result<(Child, String), Failed> {
    let example = std::env::current_exe()?;
    let binary = example.parent().and_then(|dir| dir.parent()).ok_or("no folder")?.join("glimpse-api");
    let mut api = Command::new(binary)
        .args(["--listen", "127.0.0.1:0", "--max-streams", "100000", "--redis-url", redis])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(api.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on http://").ok_or("no address")?.to_owned();
    Ok((api, address))
}

/// So many jobs, submitted to the API and claimed.
async fn claimed(store: &RedisStore, address: &str, jobs: usize) -> Result<Vec<Lease>, Failed> {
    let worker = WorkerRecord {
        id: WorkerId::new("bench"),
        app: "bench/streams".parse()?,
        native_width: 128,
        native_height: 128,
        max_pixels: 128 * 128,
        schedulers: Vec::new(),
        device: "none".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: WorkerState::Busy,
        job: None,
    };
    store.heartbeat(&worker).await?;
    let body = json!({ "app": worker.app, "prompt": "a heart" }).to_string();
    let mut leases = Vec::new();
    for number in 1..=jobs as u64 {
        let head = format!("POST /v1/jobs HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|(head, _)| head.contains(" 202 ")) else {
            return Err(answer.into());
        };
        let id = serde_json::from_str::<Value>(body)?["id"].clone();
        let claim = Claim { worker: worker.id.clone(), app: worker.app.clone(), affinity: None, number };
        let lease = store.try_claim(&claim).await?.ok_or("no job to claim")?;
        if id != json!(lease.job.id) {
            return Err("somebody else's job: this Redis is not ours alone".into());
        }
        leases.push(lease);
    }
    Ok(leases)
}

/// An open event stream.
async fn open(address: &str, lease: &Lease, opening: &Semaphore) -> Result<TcpStream, Failed> {
    let _turn = opening.acquire().await?;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/jobs/{}/events HTTP/1.1\r\nhost: bench\r\n\r\n", lease.job.id);
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if &status != b"HTTP/1.1 200" {
        return Err(String::from_utf8_lossy(&status).into_owned().into());
    }
    Ok(stream)
}

/// Reads to the end, and says how late each preview was.
async fn follow(mut stream: TcpStream, job: usize, published: Arc<Published>) -> Result<Vec<f64>, Failed> {
    let (mut late, mut text) = (Vec::new(), Vec::with_capacity(32 * 1024));
    loop {
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            // Before it may stand the size of a chunk.
            let seq = block.lines().find_map(|line| line.strip_prefix("id: ")?.trim().parse().ok());
            late.extend(seq.and_then(|seq| published.since(job, seq)));
            if block.contains("event: cancelled") {
                return Ok(late);
            }
        }
        if stream.read_buf(&mut text).await? == 0 {
            return Err("a stream ended before its job".into());
        }
    }
}

/// Hears what Redis says, until all jobs have ended.
async fn listen(
    listener: redis::aio::PubSub,
    channels: BTreeMap<String, usize>,
    published: Arc<Published>,
    jobs: usize,
) -> Result<Vec<f64>, Failed> {
    let (mut late, mut ended) = (Vec::new(), 0);
    let mut messages = listener.into_on_message();
    while ended < jobs {
        let message = messages.next().await.ok_or("Redis hung up")?;
        let payload: Vec<u8> = message.get_payload()?;
        let text = String::from_utf8_lossy(&payload);
        let (seq, json) = text.split_once(' ').ok_or("a message that is no event")?;
        late.extend(published.since(channels[message.get_channel_name()], seq.parse()?));
        ended += usize::from(json.contains(r#""type":"cancelled""#));
    }
    Ok(late)
}

fn percentiles(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied();
    json!({ "p50": at(50), "p99": at(99), "most": at(100) })
}
