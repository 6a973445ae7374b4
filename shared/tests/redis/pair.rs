//! A pair of stores, one of each implementation. Each step runs in both, and everything that can be read is compared:
//! the stores with each other, and with a ledger that checks each command.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use glimpse_shared::{
    event::{FailureCode, Followed, Frame},
    id::{App, JobId, Micros, WorkerId},
    job::{Class, Job, Progress, Release, Status, WorkerRecord, WorkerState},
    needs::Capabilities,
    store::{
        Checkpoint, Claim, Clock, Ending, Lease, Listing, Preview, Quota, Rules, Shown, Store, Submit,
        memory::{self, MemoryStore},
        redis::RedisStore,
        transition::{self, Command, Effect, Outcome},
    },
    webhook::{Delivery, Report, Webhook, WebhookForm},
    weight::Weight,
};
use glimpse_test_support::{
    RedisServer, Reply, SOON,
    jobs::{self, START, completed, image, worker},
    ledger::{Ledger, observer::Observer},
};

use crate::steps::{AFFINITIES, JOBS, Number, OTHERS, REASONS, Step, capabilities, needs};

/// Small limits, so that a few dozen steps reach each of them. Jobs do not expire.
fn rules(queue_limit: u64) -> Rules {
    let forever = Duration::from_secs(1_000_000);
    Rules {
        queue_limit,
        affinity_reach: 2,
        passed_over: 2,
        attempts: 2,
        previews_kept: 2,
        ended_ttl: forever,
        dead_ttl: forever,
        dead_kept: 2,
        listed: 3,
        pace_ttl: Duration::from_secs(60),
        webhook_lease: Duration::from_secs(5),
        webhook_first_wait: Duration::from_secs(5),
        webhook_longest_wait: Duration::from_secs(15),
        webhook_tries: 4,
        webhook_ttl: forever,
        ..Rules::default()
    }
}

/// The webhook of a job.
fn webhook(n: usize) -> Webhook {
    let form = if n.is_multiple_of(2) { WebhookForm::Fal } else { WebhookForm::Own };
    Webhook {
        url: format!("https://example.com/é?job={n}"),
        form,
        origin: "http://127.0.0.1:8080".to_owned(),
    }
}

/// The job without previews.
fn quiet(job: Job) -> Job {
    let mut spec = serde_json::to_value(&job.spec).unwrap();
    spec["preview_every"] = 0.into();
    Job { spec: serde_json::from_value(spec).unwrap(), ..job }
}

/// The wake-up tokens, according to the transition.
type Tokens = Arc<Mutex<BTreeSet<(App, Option<Capabilities>)>>>;

/// The transition with a record of the tokens.
fn recording(tokens: Tokens, observed: Box<memory::Apply>) -> Box<memory::Apply> {
    Box::new(move |state, rules, command, now| {
        let taken = match &command {
            Command::TakeWake(app, capabilities) => Some((app.clone(), Some(capabilities.clone()))),
            _ => None,
        };
        let (outcome, effects) = observed(state, rules, command, now);
        let mut tokens = tokens.lock().unwrap();
        if let Some(own) = taken.filter(|_| outcome == Outcome::Woken(true))
            && !tokens.remove(&own)
        {
            tokens.remove(&(own.0, None));
        }
        for effect in &effects {
            if let Effect::Woken(app, who) = effect {
                tokens.insert((app.clone(), who.clone()));
            }
        }
        (outcome, effects)
    })
}

/// A lease in both stores: now, and before its last publish.
#[derive(Clone)]
struct Held {
    now: (Lease, Lease),
    before: (Lease, Lease),
}

pub struct Pair {
    memory: MemoryStore,
    redis: RedisStore,
    clock: Clock,
    jobs: Vec<Job>,
    apps: [App; 2],
    leases: Vec<Held>,
    numbers: BTreeMap<usize, u64>,
    deliveries: Vec<Delivery>,
    /// The step of the newest preview. Steps rise, as in a worker.
    step: u32,
    /// Observes every command of the memory store.
    observer: Observer,
    tokens: Tokens,
    prefix: String,
    /// How many lists of jobs were compared.
    lists: AtomicUsize,
}

/// The tenants of the jobs.
const TENANTS: [&str; 2] = ["anonymous", "another"];

impl Pair {
    pub fn new(url: &str, prefix: &str, queue_limit: u64) -> Self {
        let rules = rules(queue_limit);
        let (clock, observer) = (Clock::manual(START), Observer::default());
        let tokens = Tokens::default();
        let observed = recording(tokens.clone(), observer.observe(transition::apply));
        let apps: [App; 2] = ["glimpse/demo".parse().unwrap(), "glimpse/other".parse().unwrap()];
        let jobs = (0..JOBS)
            .map(|n| Job {
                id: JobId::from_parts(&apps[usize::from(n == OTHERS.0)], 1_700_000_000_000, 1000 - n as u64),
                tenant: TENANTS[n % 2].to_owned(),
                weight: Weight::try_from([1.0, 0.5, 3.0][n % 3]).unwrap(),
                affinity: AFFINITIES[n / 2 % 3].map(str::to_owned),
                needs: needs()[n % 4].clone(),
                class: if n % 3 == 2 { Class::Low } else { Class::Normal },
                start_timeout: Duration::from_secs([20, 3600][n % 2]),
                run_timeout: Duration::from_secs([25, 3600][n / 2 % 2]),
                webhook: (n % 3 != 0).then(|| webhook(n)),
                ..jobs::job_of(&apps[usize::from(n == OTHERS.0)], &format!("job {n} ✓"))
            })
            .map(|job| if job.class == Class::Low { quiet(job) } else { job })
            .collect();
        Self {
            memory: MemoryStore::with(rules.clone(), clock.clone(), observed),
            redis: RedisStore::connect(&url.into(), &prefix.parse().unwrap(), rules, clock.clone()).unwrap(),
            clock,
            jobs,
            apps,
            leases: Vec::new(),
            numbers: BTreeMap::new(),
            deliveries: Vec::new(),
            step: 0,
            observer,
            tokens,
            prefix: prefix.to_owned(),
            lists: AtomicUsize::new(0),
        }
    }

    fn worker(&self, n: usize) -> (WorkerId, &App) {
        (worker(&format!("worker-{n}")), &self.apps[usize::from(n == OTHERS.1)])
    }

    /// The index of the `n`th newest lease.
    fn lease(&self, n: usize) -> Option<usize> {
        self.leases.len().checked_sub(1 + n)
    }

    /// Runs a step in both stores and compares the answers.
    pub async fn take(&mut self, step: &Step) {
        match step {
            Step::Submit { job, other_body } => {
                // Some jobs of one tenant have a quota.
                let quota = match job % 4 {
                    3 => Quota::of_jobs(NonZeroU32::MIN.saturating_add(1)),
                    _ => Quota::default(),
                };
                let mut job = self.jobs[*job].clone();
                if *other_body {
                    job.digest.push_str(" of another body");
                }
                let answers = (
                    self.memory.submit_within(&job, quota).await,
                    self.redis.submit_within(&job, quota).await,
                );
                let same: (Submit, Submit) = (answers.0.unwrap(), answers.1.unwrap());
                assert_eq!(same.0, same.1);
            }
            Step::Claim { worker, affinity, capabilities: kind, number } => {
                let capabilities = capabilities()[*kind].clone();
                self.claim(*worker, AFFINITIES[*affinity], capabilities, *number).await;
            }
            Step::TakeWake { worker, capabilities: kind } => {
                let ((_, app), capabilities) = (self.worker(*worker), capabilities()[*kind].clone());
                let any = [Some(capabilities.clone()), None];
                let there =
                    |who: &Option<_>| self.tokens.lock().unwrap().contains(&(app.clone(), who.clone()));
                if !any.iter().any(there) {
                    return;
                }
                // With a token the wait must end at once.
                let begun = std::time::Instant::now();
                self.memory.wait_for_work(app, &capabilities).await.unwrap();
                self.redis.wait_for_work(app, &capabilities).await.unwrap();
                assert!(begun.elapsed() < Duration::from_secs(4), "a token is missing: {capabilities}");
            }
            Step::Wake { worker, capabilities: kind } => {
                let ((_, app), capabilities) = (self.worker(*worker), capabilities()[*kind].clone());
                self.memory.wake(app, &capabilities).await.unwrap();
                self.redis.wake(app, &capabilities).await.unwrap();
            }
            Step::Renew { lease, checkpoint } => {
                let Some(at) = self.lease(*lease) else { return };
                let held = &self.leases[at].now;
                let checkpoint = checkpoint.and_then(|byte| Checkpoint::new(vec![byte, 0xff, 0]));
                let checkpoint = checkpoint.as_ref();
                let answers = (
                    self.memory.renew(&held.0, checkpoint).await,
                    self.redis.renew(&held.1, checkpoint).await,
                );
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::Publish { lease, partial, steps, old } => {
                let Some(at) = self.lease(*lease) else { return };
                self.step += steps;
                let held = &mut self.leases[at];
                let was = held.now.clone();
                let (of_memory, of_redis) = if *old { &mut held.before } else { &mut held.now };
                let preview = match *partial {
                    Some(index) => Preview::partial(of_memory.attempt, index, self.step, 10_000, image()),
                    None => Preview::new(of_memory.attempt, self.step, 10_000, image()),
                };
                let answers = (
                    self.memory.publish(of_memory, &preview).await,
                    self.redis.publish(of_redis, &preview).await,
                );
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
                assert_eq!(of_memory, of_redis);
                if !old {
                    held.before = was;
                }
            }
            Step::Finish { lease, failed, old } => {
                let Some(at) = self.lease(*lease) else { return };
                let held = &mut self.leases[at];
                let (of_memory, of_redis) = if *old { &mut held.before } else { &mut held.now };
                let ending = if *failed {
                    Ending::failed(FailureCode::BadRequest, "unsupported — \"size\"".to_owned())
                } else {
                    completed()
                };
                let answers = (
                    self.memory.finish(of_memory, &ending).await,
                    self.redis.finish(of_redis, &ending).await,
                );
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
                assert_eq!(of_memory, of_redis);
            }
            Step::Release { lease, fault } => {
                let Some(at) = self.lease(*lease) else { return };
                let release = match fault {
                    Some(reason) => Release::Fault(REASONS[*reason].to_owned()),
                    None => Release::Drain,
                };
                let held = &self.leases[at].now;
                let answers = (
                    self.memory.release(&held.0, &release).await,
                    self.redis.release(&held.1, &release).await,
                );
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::Cancel { job, by } => {
                let id = self.jobs[*job].id;
                let answers = (self.memory.cancel(id, *by).await, self.redis.cancel(id, *by).await);
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::FinishEarly { job } => {
                let id = self.jobs[*job].id;
                let answers = (self.memory.finish_early(id).await, self.redis.finish_early(id).await);
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::Reap { late } => {
                let seen = Micros(self.memory.now().await.unwrap().0 - late);
                let answers = (self.memory.reap(seen).await, self.redis.reap(seen).await);
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::Pass { micros } => self.clock.advance(Duration::from_micros(*micros)),
            Step::Heartbeat { worker, busy } => {
                let (id, app) = self.worker(*worker);
                let record = WorkerRecord {
                    id,
                    app: app.clone(),
                    native_width: 1024,
                    native_height: 1024,
                    max_pixels: 1 << 21,
                    schedulers: vec!["EulerDiscreteScheduler".to_owned()],
                    features: vec!["loras".to_owned()],
                    loras: vec!["ink".to_owned()],
                    device: "cpu".to_owned(),
                    version: "0.1.0".to_owned(),
                    state: if *busy { WorkerState::Busy } else { WorkerState::Idle },
                    progress: busy.then_some(Progress { step: 3, steps: 20 }),
                    results: None,
                    model: None,
                };
                self.memory.heartbeat(&record).await.unwrap();
                self.redis.heartbeat(&record).await.unwrap();
            }
            Step::Retry { job, of_retried } => {
                let id = self.jobs[*job].id;
                let id = if *of_retried { id.retried() } else { id };
                let answers = (self.memory.retry(id).await, self.redis.retry(id).await);
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
            Step::Forget { job } => {
                let id = self.jobs[*job].id;
                self.memory.forget(id).await.unwrap();
                self.redis.forget(id).await.unwrap();
            }
            Step::TakeDeliveries => {
                let answers = (self.memory.take_deliveries().await, self.redis.take_deliveries().await);
                let (of_memory, of_redis) = (answers.0.unwrap(), answers.1.unwrap());
                assert_eq!(of_memory, of_redis);
                self.deliveries.extend(of_memory);
            }
            Step::Settle { delivery, acknowledged } => {
                let at = self.deliveries.len().checked_sub(1 + delivery);
                let Some(Delivery { job, number, .. }) = at.map(|at| self.deliveries[at].clone()) else {
                    return;
                };
                let report = if *acknowledged { Report::Acknowledged } else { Report::Failed };
                let answers = (
                    self.memory.settle_delivery(job, number, report).await,
                    self.redis.settle_delivery(job, number, report).await,
                );
                assert_eq!(answers.0.unwrap(), answers.1.unwrap());
            }
        }
    }

    async fn claim(&mut self, n: usize, affinity: Option<&str>, capabilities: Capabilities, number: Number) {
        let (worker, app) = self.worker(n);
        let last = *self.numbers.get(&n).unwrap_or(&1);
        let number = match number {
            Number::Next => last + 1,
            Number::Same => last,
            Number::Before => last - 1,
        };
        let affinity = affinity.map(str::to_owned);
        let claim = Claim { worker, app: app.clone(), affinity, capabilities, number };
        self.numbers.insert(n, last.max(number));
        let answers = (self.memory.try_claim(&claim).await, self.redis.try_claim(&claim).await);
        let (of_memory, of_redis) = (answers.0.unwrap(), answers.1.unwrap());
        assert_eq!(of_memory, of_redis);
        if let (Some(of_memory), Some(of_redis)) = (of_memory, of_redis) {
            let both = (of_memory, of_redis);
            self.leases.push(Held { now: both.clone(), before: both });
        }
    }

    /// Every job, and its retries.
    fn ids(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().flat_map(|job| [job.id, job.id.retried(), job.id.retried().retried()])
    }

    /// Compares everything that can be read: the stores with each other and with the ledger.
    pub async fn compare(&self) {
        self.observer.verdict().unwrap_or_else(|broken| panic!("{broken}"));
        let compared = self.ids().map(|id| async move {
            let looks = [Shown::Newest, Shown::End].map(|shown| async move {
                let looks = (self.memory.status_with(id, shown), self.redis.status_with(id, shown));
                let (of_memory, of_redis) = (looks.0.await.unwrap(), looks.1.await.unwrap());
                assert_eq!(of_memory, of_redis);
                of_redis
            });
            let [newest, _] = <[_; 2]>::try_from(futures::future::join_all(looks).await).unwrap();
            let newest = newest.as_ref().map(|(state, newest)| (state, newest.as_ref()));
            let checked = self.observer.ask(|ledger| ledger.check(id, newest));
            checked.unwrap_or_else(|broken| panic!("{id}: {broken}"));
        });
        futures::future::join_all(compared).await;
        for app in [None, Some(&self.apps[0])] {
            let lists = (self.memory.dead(app).await, self.redis.dead(app).await);
            assert_eq!(lists.0.unwrap(), lists.1.unwrap());
        }
        assert_eq!(self.memory.workers().await.unwrap(), self.redis.workers().await.unwrap());
        self.compare_lists().await;
    }

    /// Compares a list of jobs, another one each time, and the queues.
    async fn compare_lists(&self) {
        let n = self.lists.fetch_add(1, Ordering::Relaxed);
        let ids: Vec<_> = self.ids().collect();
        let listing = Listing {
            tenant: TENANTS[n % 2].to_owned(),
            status: [None, Some(Status::Queued), None][n / 2 % 3],
            before: [None, Some(ids[n % ids.len()])][n / 6 % 2],
            limit: [100, 2][n / 12 % 2],
        };
        let lists = (self.memory.jobs(&listing).await, self.redis.jobs(&listing).await);
        assert_eq!(lists.0.unwrap(), lists.1.unwrap(), "{listing:?}");
        for app in &self.apps {
            let positions = (self.memory.positions(app, &ids).await, self.redis.positions(app, &ids).await);
            assert_eq!(positions.0.unwrap(), positions.1.unwrap());
            let waiting = (self.memory.waiting(app).await, self.redis.waiting(app).await);
            assert_eq!(waiting.0.unwrap(), waiting.1.unwrap());
        }
    }

    /// Checks that the scripts wake the same workers as the transition.
    pub fn compare_tokens(&self, server: &RedisServer) {
        let tokens = self.tokens.lock().unwrap();
        for app in &self.apps {
            let stem = format!("{}:{{{}}}:wake:{app}", self.prefix, app.partition());
            for who in capabilities().map(Some).into_iter().chain([None]) {
                let list = who.as_ref().map_or(stem.clone(), |who| format!("{stem}:{}", who.name()));
                let expected = i64::from(tokens.contains(&(app.clone(), who.clone())));
                assert_eq!(server.ask(&["LLEN", &list]), Reply::Number(expected), "{list}: {who:?}");
            }
        }
    }

    /// Lets all deadlines expire, so that every job ends.
    pub async fn end(&mut self) {
        self.take(&Step::Pass { micros: 10_000_000_000 }).await;
        self.take(&Step::Reap { late: 0 }).await;
        self.compare().await;
        self.observer.ask(Ledger::all_ended).unwrap_or_else(|broken| panic!("{broken}"));
        // No receiver answers: in the end every webhook is given up.
        for _ in 0..60 {
            self.take(&Step::Pass { micros: 10_000_000 }).await;
            self.take(&Step::TakeDeliveries).await;
        }
        self.compare().await;
        self.observer.ask(Ledger::all_called).unwrap_or_else(|broken| panic!("{broken}"));
    }

    pub async fn compare_logs(&self) {
        for id in self.ids() {
            let logs = (log(&self.memory, id).await, log(&self.redis, id).await);
            assert_eq!(logs.0, logs.1);
        }
    }
}

/// The frames in a job's log.
async fn log(store: &dyn Store, id: JobId) -> Vec<Frame> {
    let Some(state) = store.status(id).await.unwrap() else { return Vec::new() };
    let mut stream = store.follow(id, None);
    let mut frames: Vec<Frame> = Vec::new();
    while frames.last().is_none_or(|frame| frame.seq < state.seq) {
        let next = tokio::time::timeout(SOON, stream.next()).await.expect("an event in time");
        match next {
            Some(Followed::Frame(frame)) => frames.push(frame),
            other => panic!("{id}: {other:?} after {frames:?}"),
        }
    }
    frames
}
