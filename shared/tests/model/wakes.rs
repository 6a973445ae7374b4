//! Two workers that sleep until a token wakes them, and three jobs: nobody sleeps while a job waits.

use std::fmt::Debug;

use glimpse_shared::{
    id::JobId,
    job::{Job, Release, Status},
    store::{
        Claim, Rules,
        transition::{self, Command, Fence, Outcome},
    },
};
use glimpse_test_support::ledger::{Broken, bugs::Apply};

use crate::{
    explore::{World, explore},
    store::Store,
    suite::{self, START, app, completed, worker},
};

const JOBS: u64 = 3;

#[derive(Debug, Clone)]
pub enum Action {
    Submit(u64),
    /// An awake worker looks for a job: it works then, or blocks.
    Claim(usize),
    /// A sleeper takes the token.
    Take(usize),
    Finish(usize),
    Drain(usize),
}

#[derive(Debug, Clone, PartialEq)]
enum Mode {
    Awake,
    Works(Fence),
    Sleeps,
}

#[derive(Clone, PartialEq)]
pub struct Wakes {
    store: Store,
    workers: [Mode; 2],
    number: u64,
    drains: u32,
}

fn job(n: u64) -> Job {
    Job { id: JobId::from_parts(&app(), 1, n), ..suite::job(&format!("job {n}")) }
}

impl Wakes {
    pub fn new(apply: Apply) -> Self {
        Self { store: Store::new(apply), workers: [Mode::Awake, Mode::Awake], number: 0, drains: 0 }
    }

    fn send(&mut self, command: Command) -> Result<Outcome, Broken> {
        self.store.send(&Rules::default(), command, START)
    }

    fn token(&self) -> bool {
        self.clone().send(Command::TakeWake(app())) == Ok(Outcome::Woken(true))
    }
}

impl World for Wakes {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let new = (0..JOBS).find(|n| self.store.state.status(job(*n).id).is_none());
        actions.extend(new.map(Action::Submit));
        for (n, mode) in self.workers.iter().enumerate() {
            match mode {
                Mode::Awake => actions.push(Action::Claim(n)),
                Mode::Works(_) => {
                    actions.push(Action::Finish(n));
                    actions.extend((self.drains < 1).then_some(Action::Drain(n)));
                }
                Mode::Sleeps => actions.extend(self.token().then_some(Action::Take(n))),
            }
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, Broken> {
        let mut world = self.clone();
        match *action {
            Action::Submit(n) => drop(world.send(Command::Submit(job(n)))?),
            Action::Claim(n) => {
                let (worker, number) = (worker(["w1", "w2"][n]), self.number + 1);
                let claim = Claim { worker, app: app(), affinity: None, number };
                world.workers[n] = match world.send(Command::TryClaim(claim))? {
                    Outcome::Claim(Some(lease)) => {
                        world.number = number;
                        Mode::Works(Fence::from(&*lease))
                    }
                    _ => Mode::Sleeps,
                };
            }
            Action::Take(n) => {
                world.send(Command::TakeWake(app()))?;
                world.workers[n] = Mode::Awake;
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
        let waits = |n| self.store.state.status(job(n).id).is_some_and(|job| job.status == Status::Queued);
        let sleeps = self.workers.iter().any(|mode| matches!(mode, Mode::Sleeps));
        let looks = self.workers.iter().any(|mode| matches!(mode, Mode::Awake));
        if (0..JOBS).any(waits) && sleeps && !looks && !self.token() {
            return Err("no worker sleeps on while a job waits".to_owned());
        }
        Ok(())
    }

    fn signature(&self) -> impl Debug {
        (self.store.signature(), &self.workers, self.number, self.drains)
    }
}

#[test]
fn nobody_sleeps_while_a_job_waits() {
    let worlds = explore(Wakes::new(transition::apply)).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(worlds > 100, "{worlds} worlds are too few to have seen much");
}
