//! One run of the simulation; the seed decides everything in it.

use std::{cell::Cell, sync::Arc, sync::Once, time::Duration};

use futures::future::join_all;
use glimpse_shared::{jitter, store::Rules};
use glimpse_test_support::ledger::{Broken, bugs::Apply};
use tokio::time::{sleep, timeout};

use super::{
    chance::Chance,
    client, fleet,
    weather::Weather,
    world::{Tally, World},
};

/// The longest phase with faults, outages not counted. All jobs are submitted in it.
const STORM: Duration = Duration::from_secs(120);
/// The time within which every job must end after the faults: far above every deadline shorter than an hour.
const DRAIN_TIME: Duration = Duration::from_secs(30 * 60);

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Simulates everything that follows from `seed`, under the rules of `apply`. Returns what happened and a number that
/// is a hash of all of it.
pub fn run(seed: u64, apply: Apply) -> Result<(Tally, u64), Broken> {
    notice_panics();
    let before = PANICS.get();
    jitter::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let result = runtime.block_on(lives(Chance::new(seed), apply));
    if PANICS.get() > before { Err("a task panicked".to_owned()) } else { result }
}

async fn lives(mut chance: Chance, apply: Apply) -> Result<(Tally, u64), Broken> {
    let weather = Weather::new(&mut chance, STORM);
    let calm_from = weather.calm_from;
    let rules = Rules { queue_limit: chance.pick(&[6, 10_000]), ..Rules::default() };
    let world = Arc::new(World::new(rules, weather, apply));
    fleet::api(&world, &mut chance);
    for number in 0..chance.number(1..5) {
        tokio::spawn(fleet::machine(world.clone(), number, chance.split()));
    }
    let clients = (0..chance.number(20..60)).map(|number| {
        let job = client::job(number, &mut chance);
        tokio::spawn(client::live(world.clone(), job, STORM, chance.split()))
    });
    let clients: Vec<_> = clients.collect();
    let result = timeout(calm_from.elapsed() + STORM * 2 + DRAIN_TIME, join_all(clients)).await;
    world.verdict()?;
    let Ok(clients) = result else {
        world.all_ended()?;
        return Err("a client waits for a job that has ended".to_owned());
    };
    for client in clients {
        client.map_err(|error| error.to_string())?;
    }
    // A submit whose client has timed out may have arrived late.
    let mut left = DRAIN_TIME.as_secs();
    while let Err(unfinished) = world.all_ended() {
        left = left.checked_sub(1).ok_or(unfinished)?;
        sleep(Duration::from_secs(1)).await;
    }
    world.verdict()?;
    Ok(world.summary())
}

/// Counts the panics of tasks, because no other task awaits some of them.
fn notice_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let result = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            result(panic);
        }));
    });
}
