//! Two jobs with two workers and two attempts, where every command may be repeated.

use std::{fmt::Debug, num::NonZeroU32, sync::LazyLock, time::Duration};

use glimpse_shared::{
    event::CancelledBy,
    id::{JobId, Micros, Seq, WorkerId},
    job::{Job, Release, Status},
    store::{
        Preview, Quota, Rules,
        transition::{self, Command, Fence, Outcome},
    },
    webhook::{Delivery, Report, Webhook, WebhookForm},
};
use glimpse_test_support::{
    jobs::{self, START, app, completed, image, plain_claim, worker},
    ledger::{Broken, bugs::Apply},
};

use crate::{
    explore::{World, explore},
    store::Store,
};

const TICK: Duration = Duration::from_secs(10);

/// The size of a search. One search with everything would take minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scope {
    jobs: usize,
    /// The total number of claims.
    claims: usize,
    /// The number of ticks: a lease expires after one, a deadline after two.
    ticks: u32,
    /// Whether the first job's id is reused.
    again: bool,
    /// Whether the previews of the first step are partial pictures.
    partials: bool,
    /// The number of tries to call the first job's webhook; without any it has none.
    calls: usize,
    /// Whether the jobs are of a tenant that may have one at a time.
    crowded: bool,
    /// Whether somebody asks to finish the jobs early.
    finishes: bool,
}

const SIDE_BY_SIDE: Scope = Scope {
    jobs: 2,
    claims: 2,
    ticks: 2,
    again: false,
    partials: false,
    calls: 0,
    crowded: false,
    finishes: false,
};
const FINISHING: Scope = Scope { finishes: true, ..ALONE };
const CROWDED: Scope = Scope { crowded: true, ..SIDE_BY_SIDE };
const COMING_AGAIN: Scope = Scope { again: true, ..ALONE };
const KEEPING: Scope = Scope { partials: true, ..ALONE };
const CALLING: Scope = Scope { claims: 1, ticks: 4, calls: 3, ..ALONE };
const ALONE: Scope = Scope { jobs: 1, ..SIDE_BY_SIDE };
pub const SCOPES: [Scope; 6] = [COMING_AGAIN, KEEPING, FINISHING, CALLING, CROWDED, SIDE_BY_SIDE];

#[derive(Debug, Clone)]
pub enum Action {
    Submit(usize),
    /// With a new number, or a repeat with the last one.
    Claim(usize, bool),
    Renew(usize),
    /// The next preview of a lease, or a repeat of the last one.
    Publish(usize, bool),
    /// With the number that the worker knows, or with an older one.
    Finish(usize, bool),
    Release(usize, bool),
    Cancel(usize),
    FinishEarly(usize),
    Reap(usize),
    /// The first job expires, so its id can be reused.
    Forget,
    /// An API leases a delivery.
    Take,
    /// It reports one of its tries: whether it was acknowledged.
    Settle(usize, bool),
    Pass,
}

/// A worker's lease. The worker does not learn that it lost the lease.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    fence: Fence,
    next: Seq,
    step: u32,
}

#[derive(Clone, PartialEq)]
pub struct Lives {
    scope: Scope,
    store: Store,
    ticks: u32,
    forgotten: bool,
    numbers: [u64; 2],
    leases: Vec<Known>,
    /// The deliveries that an API has leased. It does not learn that it lost them.
    deliveries: Vec<Delivery>,
}

fn rules() -> Rules {
    let webhooks = Rules {
        webhook_lease: TICK,
        webhook_first_wait: TICK,
        webhook_longest_wait: 2 * TICK,
        webhook_tries: 3,
        ..Rules::default()
    };
    Rules { lease: TICK, attempts: 2, queue_limit: 1, previews_kept: 1, ..webhooks }
}

fn take() -> Command {
    Command::TakeDelivery(app().partition())
}

fn report(acknowledged: bool) -> Report {
    if acknowledged { Report::Acknowledged } else { Report::Failed }
}

fn name(n: usize) -> WorkerId {
    worker(["w1", "w2"][n])
}

static JOBS: LazyLock<[Job; 2]> = LazyLock::new(|| {
    [1, 2].map(|n| Job {
        id: JobId::from_parts(&app(), 1, n),
        start_timeout: 2 * TICK,
        run_timeout: 2 * TICK,
        ..jobs::job(&format!("job {n}"))
    })
});

impl Lives {
    pub fn new(scope: Scope, apply: Apply) -> Self {
        Self {
            scope,
            store: Store::new(apply),
            ticks: 0,
            forgotten: false,
            numbers: [0; 2],
            leases: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    fn now(&self) -> Micros {
        START.after(self.ticks * TICK)
    }

    fn status(&self, n: usize) -> Option<Status> {
        self.store.state.status(JOBS[n].id).map(|job| job.status)
    }

    fn send(&mut self, command: Command) -> Result<Outcome, Broken> {
        let now = self.now();
        self.store.send(&rules(), command, now)
    }
}

impl World for Lives {
    type Action = Action;

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for n in 0..2 {
            // Jobs are alike, and so are workers: the second one is used only after the first.
            let first = self.status(0);
            if n < self.scope.jobs && (n == 0 || first.is_some()) {
                actions.extend([Action::Submit(n), Action::Cancel(n), Action::Reap(n)]);
                actions.extend(self.scope.finishes.then_some(Action::FinishEarly(n)));
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
        let ended = self.status(0).is_some_and(Status::is_terminal);
        if ended && self.scope.again && !self.forgotten {
            actions.push(Action::Forget);
        }
        if self.deliveries.len() < self.scope.calls {
            actions.push(Action::Take);
        }
        for n in 0..self.deliveries.len() {
            actions.extend([Action::Settle(n, true), Action::Settle(n, false)]);
        }
        if self.ticks < self.scope.ticks {
            actions.push(Action::Pass);
        }
        actions
    }

    fn after(&self, action: &Action) -> Result<Self, Broken> {
        let mut world = self.clone();
        match *action {
            Action::Submit(n) => {
                let hook = Webhook {
                    url: "http://example.com".to_owned(),
                    form: WebhookForm::Own,
                    origin: "http://127.0.0.1:8080".to_owned(),
                };
                let webhook = (self.scope.calls > 0).then_some(hook);
                let mut job = Job { webhook, ..JOBS[n].clone() };
                let mut quota = Quota::default();
                if self.scope.crowded {
                    job.tenant = "a team".to_owned();
                    quota = Quota::of_jobs(NonZeroU32::MIN);
                }
                world.send(Command::Submit(Box::new(job), quota))?;
            }
            Action::Claim(n, again) => {
                let number = self.numbers[n] + u64::from(!again);
                let claim = plain_claim(name(n), number);
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
                let partial = (self.scope.partials && step == 0).then_some(0);
                let preview = match partial {
                    Some(index) => Preview::partial(known.fence.attempt, index, step, 2, image()),
                    None => Preview::new(known.fence.attempt, step, 2, image()),
                };
                let publish = Command::Publish(known.fence.clone(), preview.frame(seq), step, partial);
                match world.send(publish)? {
                    Outcome::Publish(hold, newest) if hold.is_held() && !again => {
                        // A partial picture of an earlier attempt is not written again, but the worker goes on.
                        let done = newest == seq || partial.is_some();
                        world.leases[n].next = newest.next();
                        world.leases[n].step += u32::from(done);
                    }
                    Outcome::Renumber(next) => world.leases[n].next = next,
                    _ => {}
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
            Action::FinishEarly(n) => drop(world.send(Command::FinishEarly(JOBS[n].id))?),
            Action::Reap(n) => drop(world.send(Command::Reap(JOBS[n].id, self.now()))?),
            Action::Forget => {
                world.forgotten = true;
                world.send(Command::Forget(JOBS[0].id))?;
            }
            Action::Take => {
                if let Outcome::Delivery(Some(delivery)) = world.send(take())? {
                    world.deliveries.push(*delivery);
                }
            }
            Action::Settle(n, acknowledged) => {
                let (Delivery { job, number, .. }, report) = (&self.deliveries[n], report(acknowledged));
                world.send(Command::SettleDelivery(*job, *number, report))?;
            }
            Action::Pass => world.ticks += 1,
        }
        Ok(world)
    }

    fn check(&self) -> Result<(), Broken> {
        // No command changed another job than its own.
        for job in &*JOBS {
            let (state, newest) = (self.store.state.status(job.id), self.store.state.newest(job.id));
            self.store.ledger.check(job.id, state.as_ref().map(|state| (state, newest)))?;
        }
        let waiting = (0..JOBS.len()).filter(|n| self.status(*n) == Some(Status::Queued)).count();
        let mut trial = self.clone();
        for number in 1..=waiting as u64 {
            let claim = plain_claim(worker("trial"), number);
            if trial.send(Command::TryClaim(claim))? == Outcome::Claim(None) {
                return Err("a waiting job can be claimed".to_owned());
            }
        }
        // After all deadlines.
        let mut trial = self.clone();
        trial.ticks += 100;
        for id in trial.store.state.due(trial.now()) {
            trial.send(Command::Reap(id, trial.now()))?;
        }
        trial.store.ledger.all_ended()?;
        // No receiver answers.
        for _ in 0..=rules().webhook_tries {
            trial.ticks += 100;
            trial.send(take())?;
        }
        trial.store.ledger.all_called()
    }

    fn signature(&self) -> impl Debug {
        (self.store.signature(), self.ticks, self.forgotten, self.numbers, &self.leases, &self.deliveries)
    }
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    for scope in SCOPES {
        let worlds = explore(Lives::new(scope, transition::apply)).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{worlds} worlds of {scope:?}");
        assert!(worlds > 5_000, "{worlds} worlds are too few to have seen much");
    }
}
