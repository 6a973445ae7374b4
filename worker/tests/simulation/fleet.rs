//! The processes of a run: reapers, and workers that are killed, frozen, drained and restarted.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{
    id::WorkerId,
    reaper,
    store::{SharedStore, Store},
};
use glimpse_worker::{
    engine::Engine,
    runner::{Ended, Worker},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    chance::Chance,
    client::app,
    engine,
    wire::{Process, Wire},
    world::World,
};

/// The reaper of an API process.
pub fn api(world: &Arc<World>, chance: &mut Chance) {
    let wire = Wire::new(world.clone(), Arc::default(), chance.split());
    tokio::spawn(reaper::run(Arc::new(wire), reaper::API_PERIOD));
}

/// Runs the workers of one machine, one after the other.
pub async fn machine(world: Arc<World>, number: u64, mut chance: Chance) {
    for start in 0.. {
        let worker = Running::start(&world, (number, start), &mut chance);
        worker.live(&world, &mut chance).await;
        sleep(chance.millis(200..6_000)).await;
    }
}

/// A worker process.
struct Running {
    process: Arc<Process>,
    work: JoinHandle<Ended>,
    engine: JoinHandle<()>,
    reaper: JoinHandle<()>,
    drain: oneshot::Sender<()>,
}

impl Running {
    fn start(world: &Arc<World>, (machine, start): (u64, u64), chance: &mut Chance) -> Self {
        let offers = engine::offers(machine);
        let max_pixels = offers.max_pixels;
        let process = Arc::new(Process::default());
        let wire: Arc<dyn Store> = Arc::new(Wire::new(world.clone(), process.clone(), chance.split()));
        let store: SharedStore = wire;
        let (orders, waiting) = mpsc::unbounded_channel();
        let (drain, requested) = oneshot::channel::<()>();
        let worker = Worker {
            store: store.clone(),
            app: app(),
            id: format!("w{machine}-{start}").parse::<WorkerId>().unwrap(),
            engine: Engine::from_orders(orders),
            offers,
            loras: glimpse_worker::loras::Loras::default(),
            controlnets: None,
            results: None,
            recipes: None,
            hook: None,
            checkpoint_every: chance.pick(&[0, 300, 300, 1500, 5000].map(Duration::from_millis)),
            drain_grace: chance.pick(&[Duration::ZERO, Duration::from_secs(3), Duration::from_secs(30)]),
            work: Default::default(),
        };
        let requested = async move {
            if requested.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Self {
            work: tokio::spawn(worker.run(|| (), requested)),
            engine: tokio::spawn(engine::serve(
                waiting,
                world.clone(),
                process.clone(),
                max_pixels,
                chance.split(),
            )),
            reaper: tokio::spawn(reaper::run(store, reaper::WORKER_PERIOD)),
            process,
            drain,
        }
    }

    /// Runs the worker until it ends, is killed or drains.
    async fn live(mut self, world: &World, chance: &mut Chance) {
        loop {
            let next = Instant::now() + chance.about(Duration::from_secs(40));
            let next = if next < world.weather.calm_from { next } else { Instant::now() + FOREVER };
            if let Ok(ended) = timeout_at(next, &mut self.work).await {
                match ended {
                    Ok(Ended::DeviceFault) => world.count("devices lost"),
                    Ok(Ended::Drained) => world.broken(|| "a worker drained without a request".to_owned()),
                    Err(error) => world.broken(|| error.to_string()),
                }
                return self.kill();
            }
            match chance.number(0..3) {
                0 => {
                    world.count("killed");
                    return self.kill();
                }
                1 => {
                    world.count("drained");
                    return self.drain(world).await;
                }
                _ => {
                    world.count("frozen");
                    self.process.freeze(chance.millis(500..40_000));
                }
            }
        }
    }

    async fn drain(self, world: &World) {
        let Self { process, work, engine, reaper, drain } = self;
        // The worker may have ended at the same time.
        let _ = drain.send(());
        process.drain_deadline();
        match work.await {
            Ok(Ended::Drained) if process.may_hold_token() => {
                world.broken(|| "a worker drained and passed no wake-up on".to_owned());
            }
            Ok(_) => {}
            Err(error) => world.broken(|| error.to_string()),
        }
        process.kill();
        engine.abort();
        reaper.abort();
    }

    /// Drops the worker's task. The tasks that it has spawned wait for its connection, which is dead now.
    fn kill(self) {
        self.process.kill();
        self.work.abort();
        self.engine.abort();
        self.reaper.abort();
    }
}

/// A time that is longer than any run.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);
