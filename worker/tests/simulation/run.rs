//! One run: everything that follows from one seed.

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

/// How long the storm lasts at most without outages, in which all jobs arrive.
const STORM: Duration = Duration::from_secs(120);
/// By when every job must have ended once it is calm: far beyond any deadline that is not an hour.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Lives through everything that follows from `seed`, under the rules of `apply`; answers what happened and a
/// number that stands for all of it.
pub fn run(seed: u64, apply: Apply) -> Result<(Tally, u64), Broken> {
    notice_panics();
    let before = PANICS.get();
    jitter::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let told = runtime.block_on(lives(Chance::new(seed), apply));
    if PANICS.get() > before { Err("a task panicked".to_owned()) } else { told }
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
    let told = timeout(calm_from.elapsed() + STORM * 2 + PATIENCE, join_all(clients)).await;
    world.verdict()?;
    let Ok(clients) = told else {
        world.all_ended()?;
        return Err("a client waits for a job that has ended".to_owned());
    };
    for client in clients {
        client.map_err(|error| error.to_string())?;
    }
    // A submit that nobody waits for any more may have come late.
    let mut left = PATIENCE.as_secs();
    while let Err(unfinished) = world.all_ended() {
        left = left.checked_sub(1).ok_or(unfinished)?;
        sleep(Duration::from_secs(1)).await;
    }
    world.verdict()?;
    Ok(world.told())
}

/// A task that panics is silent where nobody waits for it.
fn notice_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            told(panic);
        }));
    });
}
