//! Workers that wait for a token, and two or three jobs: no worker waits while there is a job that it is capable of.

use std::{fmt::Debug, sync::Arc};

use glimpse_shared::{
    id::JobId,
    job::{Job, Release, Status},
    needs::{Capabilities, Needs, Word},
    store::{
        Claim, Quota, Rules,
        transition::{self, Command, Fence, Outcome},
    },
};
use glimpse_test_support::{
    jobs::{self, START, app, completed, plain_claim, worker},
    ledger::{Broken, bugs::Apply},
};

use crate::{
    explore::{World, explore},
    store::Store,
};

/// The capabilities of the workers, and the needs of the jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    workers: Vec<Capabilities>,
    needs: Vec<Needs>,
}

/// Fleets of equal workers, of workers where one is capable of more, and of workers with nothing in common.
pub fn fleets() -> [Fleet; 3] {
    let (lcm, ddim) = (Word::scheduler("LCMScheduler"), Word::scheduler("DDIMScheduler"));
    let alike = Fleet { workers: vec![Capabilities::default(); 2], needs: vec![Needs::default(); 3] };
    let small = Capabilities::new(64, []);
    let larger = Fleet {
        workers: vec![Capabilities::new(256, []), small.clone(), small],
        needs: vec![Needs::new(256, []), Needs::new(64, [])],
    };
    let apart = Fleet {
        workers: vec![Capabilities::new(64, [lcm.clone()]), Capabilities::new(64, [ddim.clone()])],
        needs: vec![Needs::new(64, [lcm.clone()]), Needs::new(64, [ddim]), Needs::new(64, [lcm])],
    };
    [alike, larger, apart]
}

#[derive(Debug, Clone)]
pub enum Action {
    Submit(usize),
    /// An awake worker claims: then it runs a job, or waits.
    Claim(usize),
    /// A waiting worker takes a token.
    Take(usize),
    Finish(usize),
    Drain(usize),
    /// A woken worker ends without a claim.
    Go(usize),
}

#[derive(Debug, Clone, PartialEq)]
enum Mode {
    Awake,
    Works(Fence),
    Sleeps,
    Gone,
}

#[derive(Clone, PartialEq)]
pub struct Wakes {
    fleet: Arc<Fleet>,
    store: Store,
    workers: Vec<Mode>,
    number: u64,
    drains: u32,
}

fn id(n: usize) -> JobId {
    JobId::from_parts(&app(), 1, n as u64)
}

impl Wakes {
    pub fn new(fleet: Fleet, apply: Apply) -> Self {
        let workers = vec![Mode::Awake; fleet.workers.len()];
        Self { fleet: Arc::new(fleet), store: Store::new(apply), workers, number: 0, drains: 0 }
    }

    fn job(&self, n: usize) -> Job {
        Job { id: id(n), needs: self.fleet.needs[n].clone(), ..jobs::job(&format!("job {n}")) }
    }

    fn send(&mut self, command: Command) -> Result<Outcome, Broken> {
        self.store.send(&Rules::default(), command, START)
    }

    /// Whether there is a token for this waiting worker.
    fn token(&self, n: usize) -> bool {
        let take = Command::TakeWake(app(), self.fleet.workers[n].clone());
        self.clone().send(take) == Ok(Outcome::Woken(true))
    }
}

impl World for Wakes {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let new = (0..self.fleet.needs.len()).find(|n| self.store.state.status(id(*n)).is_none());
        actions.extend(new.map(Action::Submit));
        for (n, mode) in self.workers.iter().enumerate() {
            match mode {
                Mode::Awake => actions.extend([Action::Claim(n), Action::Go(n)]),
                Mode::Works(_) => {
                    actions.push(Action::Finish(n));
                    actions.extend((self.drains < 1).then_some(Action::Drain(n)));
                }
                Mode::Sleeps => actions.extend(self.token(n).then_some(Action::Take(n))),
                Mode::Gone => {}
            }
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, Broken> {
        let mut world = self.clone();
        match *action {
            Action::Submit(n) => drop(world.send(Command::Submit(Box::new(self.job(n)), Quota::default()))?),
            Action::Claim(n) => {
                let (worker, number) = (worker(["w1", "w2", "w3"][n]), self.number + 1);
                let capabilities = self.fleet.workers[n].clone();
                let claim = Claim { capabilities, ..plain_claim(worker, number) };
                world.workers[n] = match world.send(Command::TryClaim(claim))? {
                    Outcome::Claim(Some(lease)) => {
                        world.number = number;
                        Mode::Works(Fence::from(&*lease))
                    }
                    _ => Mode::Sleeps,
                };
            }
            Action::Take(n) => {
                world.send(Command::TakeWake(app(), self.fleet.workers[n].clone()))?;
                world.workers[n] = Mode::Awake;
            }
            Action::Go(n) => {
                world.send(Command::Wake(app(), self.fleet.workers[n].clone()))?;
                world.workers[n] = Mode::Gone;
            }
            Action::Finish(n) | Action::Drain(n) => {
                let Mode::Works(fence) = self.workers[n].clone() else { return Ok(world) };
                let seq = self.store.state.status(fence.id).map(|job| job.seq.next()).unwrap_or_default();
                world.send(match action {
                    Action::Finish(_) => Command::Finish(fence, completed().frame(seq), Status::Completed),
                    _ => Command::Release(fence, Release::Drain),
                })?;
                world.drains += u32::from(matches!(action, Action::Drain(_)));
                world.workers[n] = Mode::Awake;
            }
        }
        Ok(world)
    }

    fn check(&self) -> Result<(), Broken> {
        let waiting: Vec<_> = (0..self.fleet.needs.len())
            .filter(|n| self.store.state.status(id(*n)).is_some_and(|job| job.status == Status::Queued))
            .collect();
        for (n, capabilities) in self.fleet.workers.iter().enumerate() {
            let can = waiting.iter().any(|job| self.fleet.needs[*job].met_by(capabilities));
            // Another worker of the same kind is about to claim, and passes the wake-up on.
            let mut alike =
                self.fleet.workers.iter().zip(&self.workers).filter(|(of, _)| *of == capabilities);
            let looks = alike.any(|(_, mode)| *mode == Mode::Awake);
            if can && self.workers[n] == Mode::Sleeps && !looks && !self.token(n) {
                return Err("no worker sleeps on while a job waits that it can make".to_owned());
            }
        }
        Ok(())
    }

    fn signature(&self) -> impl Debug {
        (self.store.signature(), &self.workers, self.number, self.drains)
    }
}

#[test]
fn no_worker_sleeps_while_a_job_waits() {
    for fleet in fleets() {
        let begun = Wakes::new(fleet.clone(), transition::apply);
        let worlds = explore(begun).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{worlds} worlds of {fleet:?}");
        assert!(worlds > 100, "{worlds} worlds are too few to have seen much");
    }
}
