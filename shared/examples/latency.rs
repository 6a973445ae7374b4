//! What the store adds to Redis' own latency: a command compared with a PING, and a preview on its way from a worker to
//! a follower compared with a bare PUBLISH of the same size.
//!
//! `cargo run --release -p glimpse-shared --example latency -- --redis-url redis://127.0.0.1:6379`, on a Redis that does
//! nothing else. Prints one line of JSON: medians in microseconds.

mod lease;

use std::time::{Duration, Instant};

use clap::Parser;
use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Followed, Image},
    store::{
        Clock, Preview, Rules, Store,
        redis::{RedisConfig, RedisStore},
    },
};
use redis::aio::MultiplexedConnection;
use serde_json::json;

use lease::{Failed, lease};

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    redis: RedisConfig,
    /// Size of a preview's picture, in bytes.
    #[arg(long, default_value_t = 20_000)]
    bytes: usize,
    /// Measurements of each kind.
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let url = args.redis.redis_url.as_ref().ok_or("--redis-url is required")?;
    let store = RedisStore::connect(url, &args.redis.redis_prefix, Rules::default(), Clock::Store)?;
    let client =
        redis::Client::open(std::env::args().skip_while(|arg| arg != "--redis-url").nth(1).ok_or("a URL")?)?;
    let mut plain = client.get_multiplexed_async_connection().await?;

    let (mut pings, mut commands) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let begun = Instant::now();
        redis::cmd("PING").exec_async(&mut plain).await?;
        pings.push(begun.elapsed());
        let begun = Instant::now();
        store.now().await?;
        commands.push(begun.elapsed());
    }
    let bare = bare_publish(&client, &mut plain, &args).await?;
    let previews = previews(&store, &args).await?;
    use std::io::Write;
    let line = json!({
        "ping": median(pings), "command": median(commands),
        "bare_publish": median(bare), "preview_to_follower": median(previews),
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// From a PUBLISH to its message at a subscriber.
async fn bare_publish(
    client: &redis::Client,
    plain: &mut MultiplexedConnection,
    args: &Args,
) -> Result<Vec<Duration>, Failed> {
    let mut subscriber = client.get_async_pubsub().await?;
    subscriber.subscribe("bench").await?;
    let mut messages = subscriber.on_message();
    let payload = "x".repeat(args.bytes.div_ceil(3) * 4);
    let mut took = Vec::new();
    for _ in 0..args.rounds {
        let begun = Instant::now();
        redis::cmd("PUBLISH").arg("bench").arg(&payload).exec_async(plain).await?;
        messages.next().await.ok_or("the subscription ended")?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// From the call that publishes a preview to the follower's frame.
async fn previews(store: &RedisStore, args: &Args) -> Result<Vec<Duration>, Failed> {
    let mut lease = lease(store, "latency").await?;
    let mut stream = store.follow(lease.job.id, None);
    for _ in ["queued", "started"] {
        stream.next().await.ok_or("the stream ended")?;
    }
    let picture = Image::new("image/jpeg", 1024, 1024, &vec![0x5a; args.bytes]);
    let mut took = Vec::new();
    for step in 0..args.rounds {
        let preview = Preview::new(lease.attempt, step, args.rounds, picture.clone());
        let begun = Instant::now();
        store.publish(&mut lease, &preview).await?;
        match stream.next().await {
            Some(Followed::Frame(_)) => took.push(begun.elapsed()),
            other => return Err(format!("{other:?} instead of a preview").into()),
        }
    }
    store.cancel(lease.job.id, CancelledBy::Operator).await?;
    Ok(took)
}

/// In microseconds.
fn median(mut took: Vec<Duration>) -> u128 {
    took.sort_unstable();
    took[took.len() / 2].as_micros()
}
