//! What happens in a run and when. The seed decides all of it before anything starts.

use std::{str::FromStr, time::Duration};

use glimpse_test_support::{Weather, seed};
use serde_json::{Value, json};

use crate::{dice::Dice, story::Fate};

/// The mean time between faults: the fleet recovers from one while the next ones come.
const FAULTS_APART: Duration = Duration::from_millis(2500);
/// The same for jobs: they keep more than half of the workers busy.
const JOBS_APART: Duration = Duration::from_millis(250);

pub const SCRIPTED: &str = "chaos/scripted";
pub const DEMO: &str = "glimpse/demo";

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// `kill -9` of a worker, a busy one if there is one; a new one starts after some seconds.
    KillWorker { down: Duration },
    /// SIGSTOP for longer than a lease, then SIGCONT: a stale worker.
    FreezeWorker { frozen: Duration },
    /// SIGTERM, and a new one once it has ended.
    DrainWorker,
    /// `kill -9`, and a new one after a while.
    KillApi { down: Duration },
    /// SIGSTOP, then SIGCONT.
    FreezeApi { frozen: Duration },
    /// SIGTERM, and a new one once it has ended.
    DrainApi,
    /// `kill -9`, then a restart with its data.
    RestartRedis { down: Duration },
    /// SIGSTOP, then SIGCONT.
    FreezeRedis { frozen: Duration },
    /// Every connection of one process to Redis is closed.
    Cut,
    /// The direction from Redis to the process is closed on these connections.
    HalfClose,
    /// One process' connections to Redis are disturbed for some time; then they are closed, or continue with all the
    /// data that was held.
    Weather { weather: Weather, lasts: Duration, cut: bool },
}

impl Fault {
    /// Whether it hits a worker alone.
    pub fn is_of_a_worker(self) -> bool {
        matches!(self, Self::KillWorker { .. } | Self::FreezeWorker { .. } | Self::DrainWorker)
    }

    /// Its kind in the report.
    pub fn kind(self) -> &'static str {
        match self {
            Self::KillWorker { .. } => "kill worker",
            Self::FreezeWorker { .. } => "freeze worker",
            Self::DrainWorker => "drain worker",
            Self::KillApi { .. } => "kill API",
            Self::FreezeApi { .. } => "freeze API",
            Self::DrainApi => "drain API",
            Self::RestartRedis { .. } => "restart Redis",
            Self::FreezeRedis { .. } => "freeze Redis",
            Self::Cut => "cut",
            Self::HalfClose => "half-close",
            Self::Weather { weather: Weather::Slow(_), .. } => "slow way",
            Self::Weather { weather: Weather::Silent, .. } => "silent way",
            Self::Weather { .. } => "deaf way",
        }
    }
}

/// What a client does with its job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conduct {
    /// Follows to the end, through any API that is up.
    Follow,
    /// Submits with a key, disconnects before the response or ignores it, and submits again.
    Repeat,
    /// Reads fal's stream with `detach`, and follows by id when the stream breaks.
    Detach,
    /// Reads fal's stream and disconnects after some events.
    Vanish { after: u64 },
    /// Cancels by DELETE after some time, and follows.
    Cancel { after: Duration },
    /// Asks after some time to finish it early, and follows.
    FinishEarly { after: Duration },
    /// Follows, finds the job on the dead list, and retries it.
    RetryDead,
    /// Submits to fal's queue with a webhook, whose receiver refuses so many calls.
    Hook { fails: u64 },
}

/// A request and the kind of client that sends it.
#[derive(Debug, Clone)]
pub struct Visit {
    pub at: Duration,
    pub conduct: Conduct,
    pub fate: Fate,
    pub app: &'static str,
    pub body: Value,
    pub dice: Dice,
}

/// A fault, its time, and the random numbers for its choices.
#[derive(Debug, Clone)]
pub struct Strike {
    pub at: Duration,
    pub fault: Fault,
    pub dice: Dice,
}

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub jobs: usize,
    pub faults: usize,
}

impl Plan {
    /// Reads `CHAOS_SEED`, `CHAOS_JOBS` and `CHAOS_FAULTS`. Without them the plan is the same in every run; with
    /// `CHAOS_JOBS` and without a seed, the seed comes from the clock.
    pub fn from_env() -> Self {
        const LENGTH: &str = "CHAOS_JOBS";
        Self {
            seed: env("CHAOS_SEED").unwrap_or_else(|| seed(7, LENGTH) % 1_000_000),
            jobs: env(LENGTH).unwrap_or(400),
            faults: env("CHAOS_FAULTS").unwrap_or(40),
        }
    }

    /// The command that repeats this run.
    pub fn command(&self) -> String {
        let Self { seed, jobs, faults } = self;
        format!(
            "CHAOS_SEED={seed} CHAOS_JOBS={jobs} CHAOS_FAULTS={faults} cargo test --workspace --test chaos"
        )
    }

    /// How long it takes without the recovery from the last faults.
    pub fn span(&self) -> Duration {
        (JOBS_APART * self.jobs as u32).max(FAULTS_APART * self.faults as u32)
    }

    pub fn strikes(&self) -> Vec<Strike> {
        let mut dice = Dice::new(self.seed).fork();
        let apart = self.span() / self.faults.max(1) as u32;
        let mut deck = Vec::new();
        (0..self.faults)
            .map(|n| {
                if deck.is_empty() {
                    deck = full_deck(&mut dice);
                }
                // Each in its own part of the span, so that the faults are spread over the whole run.
                let at = apart * n as u32 + apart.mul_f64(dice.among(0..1000) as f64 / 1000.0);
                Strike { at, fault: deck.pop().unwrap(), dice: dice.fork() }
            })
            .collect()
    }

    pub fn visits(&self) -> Vec<Visit> {
        let mut dice = Dice::new(!self.seed).fork();
        let span = self.span();
        (0..self.jobs)
            .map(|n| {
                let at = span.mul_f64((n as f64 + dice.among(0..1000) as f64 / 1000.0) / self.jobs as f64);
                visit(at, n, dice.fork())
            })
            .collect()
    }
}

fn env<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Every kind of fault, the common ones more often, in random order: a run has all of them.
fn full_deck(dice: &mut Dice) -> Vec<Fault> {
    let mut millis = |range| Duration::from_millis(dice.among(range));
    let mut deck = Vec::new();
    for _ in 0..5 {
        deck.push(Fault::KillWorker { down: millis(200..2000) });
    }
    for _ in 0..3 {
        deck.push(Fault::FreezeWorker { frozen: millis(17_000..20_000) });
        deck.push(Fault::DrainWorker);
        deck.push(Fault::KillApi { down: millis(200..2000) });
        deck.extend([Fault::Cut, Fault::HalfClose]);
    }
    for cut in [true, false] {
        deck.push(Fault::DrainApi);
        deck.push(Fault::Weather { weather: Weather::Slow(millis(20..300)), lasts: millis(2000..6000), cut });
        deck.push(Fault::Weather { weather: Weather::Silent, lasts: millis(1000..20_000), cut });
        deck.push(Fault::Weather { weather: Weather::Deaf, lasts: millis(1000..12_000), cut });
    }
    deck.push(Fault::FreezeApi { frozen: millis(2000..8000) });
    deck.push(Fault::RestartRedis { down: millis(200..3000) });
    deck.push(Fault::FreezeRedis { frozen: millis(1000..8000) });
    dice.shuffle(&mut deck);
    deck
}

fn visit(at: Duration, n: usize, mut dice: Dice) -> Visit {
    // Few seeds: the same request is sent many times, and must give the same picture.
    let (seed, pace) = (dice.among(0..4), dice.among(5..60));
    let steps = [8, 20, 50][dice.among(0..3) as usize];
    let every = [1, 3, 5][dice.among(0..3) as usize];
    let mut body = json!({ "prompt": format!("pace={pace}"), "seed": seed, "num_inference_steps": steps,
        "preview_every": every, "output_format": "png" });
    let (conduct, fate) = match n % 20 {
        0..5 => (Conduct::Follow, Fate::Innocent),
        5..7 => (Conduct::Hook { fails: dice.among(0..3) }, Fate::Innocent),
        7..11 => (Conduct::Repeat, Fate::Innocent),
        11..14 => (Conduct::Detach, Fate::Innocent),
        14..16 => (Conduct::Vanish { after: dice.among(0..4) }, Fate::Unwanted),
        16 => (Conduct::Cancel { after: Duration::from_millis(dice.among(0..1500)) }, Fate::Unwanted),
        17 => (Conduct::FinishEarly { after: Duration::from_millis(dice.among(0..1500)) }, Fate::Innocent),
        18 => (Conduct::Repeat, if n % 40 == 18 { Fate::Refused } else { Fate::Innocent }),
        _ => (Conduct::RetryDead, Fate::Poison),
    };
    match fate {
        Fate::Refused => body["prompt"] = json!("refused=0"),
        Fate::Poison => {
            // A device fault ends a process, three times per job: fewer of these.
            let what = ["fault", "panic", "fault", "panic", "device"][dice.among(0..5) as usize];
            body["prompt"] = json!(format!("pace={pace} {what}={}", dice.among(0..8)));
        }
        Fate::Innocent | Fate::Unwanted => {}
    }
    let mut app = SCRIPTED;
    if fate == Fate::Innocent && n % 20 == 3 {
        app = DEMO;
        body["prompt"] = json!("a red heart on a white background");
        body["num_inference_steps"] = json!(10);
    }
    Visit { at, conduct, fate, app, body, dice }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PLAN: Plan = Plan { seed: 7, jobs: 400, faults: 40 };

    #[test]
    fn a_seed_decides_everything() {
        let plan = |seed| Plan { seed, ..PLAN };
        let text = |plan: Plan| format!("{:?} {:?}", plan.strikes(), plan.visits());
        assert_eq!(text(plan(1)), text(plan(1)));
        assert_ne!(text(plan(1)), text(plan(2)));
    }

    #[test]
    fn a_default_run_has_every_kind_of_fault_and_of_client() {
        let kinds: BTreeSet<_> = PLAN.strikes().iter().map(|strike| strike.fault.kind()).collect();
        assert_eq!(kinds.len(), 13, "{kinds:?}");
        let fates: Vec<_> = PLAN.visits().iter().map(|visit| visit.fate).collect();
        for fate in [Fate::Innocent, Fate::Unwanted, Fate::Poison, Fate::Refused] {
            assert!(fates.iter().filter(|of| **of == fate).count() >= 8, "{fate:?}");
        }
        assert!(PLAN.visits().iter().filter(|visit| visit.app == DEMO).count() >= 10);
        for fails in 0..3 {
            let hooks = PLAN.visits().into_iter().filter(|visit| visit.conduct == Conduct::Hook { fails });
            assert!(hooks.count() >= 5, "{fails}");
        }
    }
}
