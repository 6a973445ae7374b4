//! The lives of two jobs: two workers, two attempts, and anything that was ever sent may be sent again.

use std::{fmt::Debug, sync::LazyLock, time::Duration};

use glimpse_shared::{
    event::CancelledBy,
    id::{JobId, Micros, Seq, WorkerId},
    job::{Job, JobState, Release, Status},
    store::{
        Claim, Preview, Rules,
        transition::{Command, Effect, Fence, Outcome},
    },
};

use crate::{
    bugs::{Bug, Store, fence},
    explore::{World, explore},
    invariants::{self, Held},
    suite::{self, START, app, completed, image, worker},
};

const TICK: Duration = Duration::from_secs(10);

/// How much happens: all of it at once would take minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scope {
    jobs: usize,
    /// How often jobs are claimed, in all.
    claims: usize,
    /// How many ticks pass: a lease runs out after one, a deadline after two.
    ticks: u32,
    /// Whether the first job's id comes again.
    again: bool,
}

const SIDE_BY_SIDE: Scope = Scope { jobs: 2, claims: 2, ticks: 2, again: false };
const COMING_AGAIN: Scope = Scope { jobs: 1, claims: 2, ticks: 2, again: true };

#[derive(Debug, Clone)]
enum Action {
    Submit(usize),
    /// With a new number, or with the last one again.
    Claim(usize, bool),
    Renew(usize),
    /// The next preview of a lease, or the last one again.
    Publish(usize, bool),
    /// With the number that the worker knows, or with one that is behind.
    Finish(usize, bool),
    Release(usize, bool),
    Cancel(usize),
    Reap(usize),
    /// The first job's time to live is over, and its id can come again.
    Forget,
    Pass,
}

/// What a worker knows of a lease that it got; it never learns that it lost it.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    fence: Fence,
    next: Seq,
    step: u32,
}

#[derive(Clone, PartialEq)]
struct Lives {
    scope: Scope,
    store: Store,
    ticks: u32,
    forgotten: bool,
    numbers: [u64; 2],
    leases: Vec<Known>,
}

fn rules() -> Rules {
    Rules { lease: TICK, attempts: 2, queue_limit: 1, previews_kept: 1, ..Rules::default() }
}

fn name(n: usize) -> WorkerId {
    worker(["w1", "w2"][n])
}

static JOBS: LazyLock<[Job; 2]> = LazyLock::new(|| {
    [1, 2].map(|n| Job {
        id: JobId::from_parts(&app(), 1, n),
        start_timeout: 2 * TICK,
        run_timeout: 2 * TICK,
        ..suite::job(&format!("job {n}"))
    })
});

impl Lives {
    fn new(scope: Scope, bug: Option<Bug>) -> Self {
        Self {
            scope,
            store: Store::new(bug),
            ticks: 0,
            forgotten: false,
            numbers: [0; 2],
            leases: Vec::new(),
        }
    }

    fn now(&self) -> Micros {
        START.after(self.ticks * TICK)
    }

    fn states(&self) -> Vec<Option<JobState>> {
        JOBS.iter().map(|job| self.store.state.status(job.id)).collect()
    }

    /// Sends a command and holds what comes of it against the invariants.
    fn send(&mut self, command: Command) -> Result<Outcome, String> {
        let (now, before, sent) = (self.now(), self.states(), command.clone());
        let due = self.store.state.due(now);
        let (outcome, effects) = self.store.apply(&rules(), command, now);
        let after = self.states();
        for (job, (before, after)) in JOBS.iter().zip(before.iter().zip(&after)) {
            let (before, after) = (before.as_ref(), after.as_ref());
            invariants::changed(before, after)?;
            if let Some(fence) = fence(&sent).filter(|fence| fence.id == job.id) {
                invariants::fenced(fence.attempt, &fence.worker, before, after)?;
            }
            if let (Command::Submit(sent), Outcome::Submit(answer)) = (&sent, &outcome)
                && sent.id == job.id
            {
                invariants::submitted(before, answer)?;
            }
            let appended = |effect: &&Effect| matches!(effect, Effect::Appended(id, _) if *id == job.id);
            let appended = effects.iter().filter(appended).count() as u64;
            let seq = |state: Option<&JobState>| state.map_or(0, |state| state.seq.0);
            if seq(before) + appended != seq(after) && after.is_some() {
                return Err("the log and the channel have the same events".to_owned());
            }
            if matches!(sent, Command::Reap(id, _) if id == job.id) && !due.contains(&job.id) && appended > 0
            {
                return Err("what is not due is not reaped".to_owned());
            }
            let repeated =
                before.zip(after).is_some_and(|(old, new)| new.step.is_some() && old.step == new.step);
            if matches!(&sent, Command::Publish(fence, ..) if fence.id == job.id) && repeated && appended > 0
            {
                return Err("a preview is written once".to_owned());
            }
        }
        Ok(outcome)
    }
}

impl World for Lives {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for n in 0..2 {
            // Jobs and workers are alike: the second comes into play after the first.
            let first = self.store.state.status(JOBS[0].id);
            if n < self.scope.jobs && (n == 0 || first.is_some()) {
                actions.extend([Action::Submit(n), Action::Cancel(n), Action::Reap(n)]);
            }
            if self.leases.len() < self.scope.claims && (n == 0 || self.numbers[0] > 0) {
                actions.push(Action::Claim(n, false));
                actions.extend((self.numbers[n] > 0).then_some(Action::Claim(n, true)));
            }
        }
        for (n, lease) in self.leases.iter().enumerate() {
            actions.extend([Action::Renew(n), Action::Release(n, false), Action::Release(n, true)]);
            actions.extend([Action::Finish(n, false), Action::Finish(n, true)]);
            actions.push(Action::Publish(n, lease.step > 0));
        }
        let ended = self.store.state.status(JOBS[0].id).is_some_and(|job| job.status.is_terminal());
        if ended && self.scope.again && !self.forgotten {
            actions.push(Action::Forget);
        }
        if self.ticks < self.scope.ticks {
            actions.push(Action::Pass);
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, String> {
        let mut world = self.clone();
        match *action {
            Action::Submit(n) => drop(world.send(Command::Submit(JOBS[n].clone()))?),
            Action::Claim(n, again) => {
                let number = self.numbers[n] + u64::from(!again);
                let claim = Claim { worker: name(n), app: app(), affinity: None, number };
                let answer = world.send(Command::TryClaim(claim))?;
                if let Outcome::Claim(Some(lease)) = answer
                    && !self.leases.iter().any(|known| known.fence == Fence::from(&*lease))
                {
                    world.numbers[n] = number;
                    let seq = world.store.state.status(lease.job.id).map(|job| job.seq).unwrap_or_default();
                    world.leases.push(Known { fence: Fence::from(&*lease), next: seq.next(), step: 0 });
                }
            }
            Action::Renew(n) => drop(world.send(Command::Renew(self.leases[n].fence.clone(), None))?),
            Action::Publish(n, again) => {
                let known = &self.leases[n];
                let back = u32::from(again);
                let (step, seq) = (known.step - back, Seq(known.next.0 - u64::from(back)));
                let preview = Preview::new(known.fence.attempt, step, 2, image());
                let answer = world.send(Command::Publish(known.fence.clone(), preview.frame(seq), step))?;
                if let Outcome::Publish(glimpse_shared::store::Hold::Held, newest) = answer
                    && !again
                {
                    world.leases[n].next = newest.next();
                    world.leases[n].step += u32::from(newest == seq);
                }
            }
            Action::Finish(n, behind) => {
                let known = &self.leases[n];
                let frame = completed().frame(Seq(known.next.0 - u64::from(behind)));
                let finish = Command::Finish(known.fence.clone(), frame, Status::Completed);
                if let Outcome::Renumber(next) = world.send(finish)? {
                    world.leases[n].next = next;
                }
            }
            Action::Release(n, fault) => {
                let release = if fault { Release::Fault("it broke".to_owned()) } else { Release::Drain };
                drop(world.send(Command::Release(self.leases[n].fence.clone(), release))?);
            }
            Action::Cancel(n) => drop(world.send(Command::Cancel(JOBS[n].id, CancelledBy::Client))?),
            Action::Reap(n) => drop(world.send(Command::Reap(JOBS[n].id, self.now()))?),
            Action::Forget => {
                world.forgotten = true;
                world.send(Command::Forget(JOBS[0].id))?;
            }
            Action::Pass => world.ticks += 1,
        }
        Ok(world)
    }

    fn check(&self) -> Held {
        // Every unfinished job is looked at, and every waiting one can be claimed.
        let mut trial = self.clone();
        let states = self.states();
        let listed = self.store.state.due(Micros(u64::MAX));
        for (job, state) in JOBS.iter().zip(&states) {
            let unfinished = state.as_ref().is_some_and(|state| !state.status.is_terminal());
            if unfinished != listed.contains(&job.id) {
                return Err("a job is looked at exactly until its end".to_owned());
            }
        }
        let waiting = states.iter().flatten().filter(|state| state.status == Status::Queued).count();
        for number in 1..=waiting as u64 {
            let claim = Claim { worker: worker("trial"), app: app(), affinity: None, number };
            if trial.send(Command::TryClaim(claim))? == Outcome::Claim(None) {
                return Err("a waiting job can be claimed".to_owned());
            }
        }
        // And after all deadlines every job has ended.
        let mut trial = self.clone();
        trial.ticks += 100;
        for id in trial.store.state.due(trial.now()) {
            trial.send(Command::Reap(id, trial.now()))?;
        }
        trial.states().iter().try_for_each(|state| invariants::ended(state.as_ref()))
    }

    fn signature(&self) -> impl Debug {
        (&self.store, self.ticks, self.forgotten, self.numbers, &self.leases)
    }
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    for scope in [SIDE_BY_SIDE, COMING_AGAIN] {
        let worlds = explore(Lives::new(scope, None)).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{worlds} worlds of {scope:?}");
        assert!(worlds > 5_000, "{worlds} worlds are too few to have seen much");
    }
}

#[test]
fn planted_bugs_are_found() {
    for (bug, invariant) in [
        (Bug::FenceWithoutStatus, "a job ends once"),
        (Bug::FenceWithoutAttempt, "only the holder of a job writes about it"),
        (Bug::FenceWithoutWorker, "only the holder of a job writes about it"),
        (Bug::PublishWithoutSeq, "a preview is written once"),
        (Bug::ReapWithoutLook, "what is not due is not reaped"),
        (Bug::FullBeforeDuplicate, "a repeated submit is told so"),
        (Bug::EndNotFinal, "the log and the channel have the same events"),
        (Bug::CancelForgottenByReap, "a job ends once"),
    ] {
        let found = [SIDE_BY_SIDE, COMING_AGAIN].map(|scope| explore(Lives::new(scope, Some(bug))).err());
        let found = found.into_iter().flatten().next().unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert!(found.starts_with(invariant), "{bug:?} is found as: {found}");
    }
}
