//! What checkpoints cost Redis: renewals of one lease with and without one, in Redis' own CPU time and bytes.
//!
//! `cargo run --release -p glimpse-shared --example checkpoints -- --redis-url redis://127.0.0.1:6379`, on a Redis
//! that does nothing else. Prints one line of JSON.

mod lease;

use clap::Parser;
use glimpse_shared::store::{
    Checkpoint, Clock, Rules, Store,
    redis::{RedisConfig, RedisStore},
};
use serde_json::json;

use lease::{Failed, lease};

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    redis: RedisConfig,
    /// Size of a checkpoint: 260 KB are the latents of 1024x1024 pixels with a sampler that remembers nothing.
    #[arg(long, default_value_t = 262_400)]
    bytes: usize,
    /// Renewals of each kind.
    #[arg(long, default_value_t = 2000)]
    renewals: u32,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let url = args.redis.redis_url.as_ref().ok_or("--redis-url is required")?;
    let store = RedisStore::connect(url, &args.redis.redis_prefix, Rules::default(), Clock::Store)?;
    let plain =
        redis::Client::open(std::env::args().skip_while(|arg| arg != "--redis-url").nth(1).ok_or("a URL")?)?;
    let mut plain = plain.get_multiplexed_async_connection().await?;

    let lease = lease(&store, "checkpoints").await?;
    let checkpoint = Checkpoint::new(vec![7; args.bytes]).ok_or("too large to be kept")?;
    let mut costs = Vec::new();
    for kept in [None, Some(&checkpoint)] {
        let before = usage(&mut plain).await?;
        for _ in 0..args.renewals {
            if !store.renew(&lease, kept).await?.is_held() {
                return Err("the lease was lost".into());
            }
        }
        let after = usage(&mut plain).await?;
        let each = f64::from(args.renewals);
        costs.push(json!({
            "checkpoint_bytes": kept.map_or(0, |kept| kept.bytes().len()),
            "redis_cpu_us": ((after.cpu - before.cpu) / each * 1e7).round() / 10.0,
            "received_bytes": ((after.received - before.received) / each).round(),
        }));
    }
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", json!({ "renewals": args.renewals, "each": costs }))?;
    store.cancel(lease.job.id, glimpse_shared::event::CancelledBy::Operator).await?;
    Ok(())
}

/// What Redis says of itself.
struct Usage {
    /// Seconds.
    cpu: f64,
    /// Bytes.
    received: f64,
}

async fn usage(connection: &mut redis::aio::MultiplexedConnection) -> Result<Usage, Failed> {
    let info: String = redis::cmd("INFO").arg("everything").query_async(connection).await?;
    let number = |key: &str| -> Result<f64, Failed> {
        let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(line.ok_or_else(|| format!("Redis does not say {key}"))?.trim().parse()?)
    };
    Ok(Usage {
        cpu: number("used_cpu_sys")? + number("used_cpu_user")?,
        received: number("total_net_input_bytes")?,
    })
}
