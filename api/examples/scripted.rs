//! The API and its page over the store in memory, with a worker that paints instead of denoising: for working
//! on the page without a model. `cargo run -p glimpse-api --example scripted`, then open the printed address.

use std::{io::Write, sync::Arc, time::Duration};

use clap::Parser;
use glimpse_api::{Config, serve};
use glimpse_shared::{
    event::{FailureCode, Image, Timings},
    id::WorkerId,
    job::{WorkerRecord, WorkerState},
    store::{Claim, Clock, Ending, Lease, Preview, SharedStore, memory::MemoryStore},
    telemetry::{self, LogConfig},
};
use tokio::net::TcpListener;

const SIDE: u32 = 128;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    api: Config,
    #[command(flatten)]
    log: LogConfig,
    /// Milliseconds a step takes.
    #[arg(long, default_value_t = 150)]
    step: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    telemetry::init(&flags.log);
    let store: SharedStore = Arc::new(MemoryStore::new(flags.api.rules(), Clock::Store));
    tokio::spawn(paint_for_ever(store.clone(), Duration::from_millis(flags.step)));
    let listener = TcpListener::bind(&flags.api.listen).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(serve(listener, store, flags.api, interrupted).await?)
}

async fn paint_for_ever(
    store: SharedStore,
    step: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let record = WorkerRecord {
        id: WorkerId::new("painter"),
        app: "glimpse/scripted".parse()?,
        native_width: SIDE,
        native_height: SIDE,
        max_pixels: u64::from(SIDE * SIDE),
        schedulers: Vec::new(),
        features: vec!["image".to_owned(), "mask".to_owned(), "loras".to_owned()],
        loras: vec!["ink".to_owned()],
        device: "none".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
        model: None,
    };
    for number in 1.. {
        let claim = Claim {
            worker: record.id.clone(),
            app: record.app.clone(),
            affinity: None,
            capabilities: record.capabilities(),
            number,
        };
        let lease = loop {
            store.heartbeat(&record).await?;
            match store.try_claim(&claim).await? {
                Some(lease) => break lease,
                None => store.wait_for_work(&record.app, &claim.capabilities).await?,
            }
        };
        store.heartbeat(&WorkerRecord { state: WorkerState::Busy, ..record.clone() }).await?;
        paint_one(&store, lease, step).await?;
    }
    Ok(())
}

async fn paint_one(
    store: &SharedStore,
    mut lease: Lease,
    pause: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (spec, attempt) = (lease.job.spec.clone(), lease.attempt);
    let steps = spec.num_inference_steps();
    if spec.prompt().contains("impossible") {
        let ending =
            Ending::failed(FailureCode::BadRequest, "the model cannot draw the impossible".to_owned());
        store.finish(&mut lease, &ending).await?;
        return Ok(());
    }
    for step in 0..steps {
        tokio::time::sleep(pause).await;
        if spec.has_preview_after(step) {
            let image = picture(f64::from(step + 1) / f64::from(steps + 1), spec.seed());
            if !store.publish(&mut lease, &Preview::new(attempt, step, steps, image)).await?.is_held() {
                return Ok(());
            }
        }
    }
    let timings = Timings { inference: pause.as_secs_f64() * f64::from(steps), decode: 0.0 };
    let ending = Ending::completed(vec![picture(1.0, spec.seed())], spec.seed(), timings, Vec::new());
    store.finish(&mut lease, &ending).await?;
    Ok(())
}

/// A sun over the sea that comes out of noise as `clear` goes to 1, as an uncompressed bitmap.
fn picture(clear: f64, seed: u64) -> Image {
    let mut noise = seed | 1;
    let mut pixels = Vec::new();
    for y in (0..SIDE).rev() {
        for x in 0..SIDE {
            let (dx, dy) = (f64::from(x) - 64.0, f64::from(y) - 48.0);
            let blur = 1.0 + 30.0 * (1.0 - clear);
            let sun = 1.0 / (1.0 + (((dx * dx + dy * dy).sqrt() - 26.0) / blur).exp());
            let sea = 1.0 / (1.0 + ((84.0 - f64::from(y)) / blur).exp());
            for (sky, light, water) in [(140.0, 60.0, 110.0), (110.0, 170.0, 70.0), (90.0, 250.0, 30.0)] {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let colour = sky * (1.0 - sun) + light * sun;
                let colour = colour * (1.0 - sea) + water * sea;
                let grain = (noise >> 56) as f64;
                let weight = (1.0 - clear).powi(2);
                pixels.push((colour * (1.0 - weight) + grain * weight) as u8);
            }
        }
    }
    let size = 54 + pixels.len() as u32;
    let mut file = b"BM".to_vec();
    for word in [size, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, pixels.len() as u32, 2835, 2835, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(pixels);
    Image::new("image/bmp", SIDE, SIDE, &file)
}
