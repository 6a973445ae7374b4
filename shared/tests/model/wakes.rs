//! Two workers that sleep until a token wakes them, and three jobs: nobody sleeps while a job waits.

use std::fmt::Debug;

use glimpse_shared::{
    id::JobId,
    job::{Job, Release, Status},
    store::{
        Claim, Rules,
        transition::{Command, Fence, Outcome},
    },
};

use crate::{
    bugs::{Bug, Store},
    explore::{World, explore},
    invariants::Held,
    suite::{self, START, app, completed, worker},
};

const JOBS: u64 = 3;

#[derive(Debug, Clone)]
enum Action {
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
struct Wakes {
    store: Store,
    workers: [Mode; 2],
    number: u64,
    drains: u32,
}

fn job(n: u64) -> Job {
    Job { id: JobId::from_parts(&app(), 1, n), ..suite::job(&format!("job {n}")) }
}

impl Wakes {
    fn new(bug: Option<Bug>) -> Self {
        Self { store: Store::new(bug), workers: [Mode::Awake, Mode::Awake], number: 0, drains: 0 }
    }

    fn send(&mut self, command: Command) -> Outcome {
        self.store.apply(&Rules::default(), command, START).0
    }

    fn token(&self) -> bool {
        self.clone().send(Command::TakeWake(app())) == Outcome::Woken(true)
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

    fn after(&self, action: &Action) -> Result<Self, String> {
        let mut world = self.clone();
        match *action {
            Action::Submit(n) => drop(world.send(Command::Submit(job(n)))),
            Action::Claim(n) => {
                let (worker, number) = (worker(["w1", "w2"][n]), self.number + 1);
                let claim = Claim { worker, app: app(), affinity: None, number };
                world.workers[n] = match world.send(Command::TryClaim(claim)) {
                    Outcome::Claim(Some(lease)) => {
                        world.number = number;
                        Mode::Works(Fence::from(&*lease))
                    }
                    _ => Mode::Sleeps,
                };
            }
            Action::Take(n) => {
                world.send(Command::TakeWake(app()));
                world.workers[n] = Mode::Awake;
            }
            Action::Finish(n) | Action::Drain(n) => {
                let Mode::Works(fence) = self.workers[n].clone() else { return Ok(world) };
                let seq = self.store.state.status(fence.id).map(|job| job.seq.next()).unwrap_or_default();
                world.send(match action {
                    Action::Finish(_) => Command::Finish(fence, completed().frame(seq), Status::Completed),
                    _ => Command::Release(fence, Release::Drain),
                });
                world.drains += u32::from(matches!(action, Action::Drain(_)));
                world.workers[n] = Mode::Awake;
            }
        }
        Ok(world)
    }

    fn check(&self) -> Held {
        let waits = |n| self.store.state.status(job(n).id).is_some_and(|job| job.status == Status::Queued);
        let sleeps = self.workers.iter().any(|mode| matches!(mode, Mode::Sleeps));
        let looks = self.workers.iter().any(|mode| matches!(mode, Mode::Awake));
        if (0..JOBS).any(waits) && sleeps && !looks && !self.token() {
            return Err("no worker sleeps on while a job waits".to_owned());
        }
        Ok(())
    }

    fn signature(&self) -> impl Debug {
        (&self.store, &self.workers, self.number, self.drains)
    }
}

#[test]
fn nobody_sleeps_while_a_job_waits() {
    let worlds = explore(Wakes::new(None)).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(worlds > 100, "{worlds} worlds are too few to have seen much");
}

#[test]
fn a_token_that_is_not_passed_on_is_found() {
    let found = explore(Wakes::new(Some(Bug::WakeNotPassedOn))).expect_err("the bug is not found");
    assert!(found.starts_with("no worker sleeps on"), "{found}");
}
