//! Shares of tenants: the bound of start-time fair queueing in every order of submits and claims, and two hundred tenants
//! of a busy fleet.

use std::collections::BTreeMap;

use glimpse_shared::{
    id::{JobId, Micros, Seq},
    job::Job,
    store::{
        Quota, Rules, Submit,
        transition::{Command, Fence, Outcome, State, apply},
    },
    weight::Weight,
};
use glimpse_test_support::jobs::{START, app, completed, job, plain_claim, worker};
use serde_json::json;

fn rules() -> Rules {
    Rules { queue_limit: 100_000, ..Rules::default() }
}

fn job_of_tenant(n: u64, tenant: &str, weight: f64, steps: u32) -> Job {
    let job = job("a heart");
    let mut spec = serde_json::to_value(&job.spec).unwrap();
    spec["num_inference_steps"] = json!(steps);
    Job {
        id: JobId::from_parts(&app(), START.0 / 1000, n),
        tenant: tenant.to_owned(),
        weight: Weight::try_from(weight).unwrap(),
        spec: serde_json::from_value(spec).unwrap(),
        ..job
    }
}

/// A fleet: the store's state, and what was served.
#[derive(Clone)]
struct Fleet {
    state: State,
    now: Micros,
    numbers: u64,
    /// The waiting jobs of each tenant.
    waiting: BTreeMap<String, usize>,
}

impl Fleet {
    fn new() -> Self {
        Self { state: State::default(), now: START, numbers: 0, waiting: BTreeMap::new() }
    }

    fn send(&mut self, command: Command) -> Outcome {
        self.now = Micros(self.now.0 + 1);
        apply(&mut self.state, &rules(), command, self.now).0
    }

    fn submit(&mut self, tenant: &str, weight: f64, steps: u32) {
        self.numbers += 1;
        let job = job_of_tenant(self.numbers, tenant, weight, steps);
        let submitted = self.send(Command::Submit(Box::new(job), Quota::default()));
        assert!(matches!(submitted, Outcome::Submit(Submit::Submitted { .. })), "{submitted:?}");
        *self.waiting.entry(tenant.to_owned()).or_default() += 1;
    }

    /// Claims a job, finishes it and forgets it.
    fn serve(&mut self) -> Option<Job> {
        self.numbers += 1;
        let claim = plain_claim(worker("w1"), self.numbers);
        let Outcome::Claim(lease) = self.send(Command::TryClaim(claim)) else { unreachable!() };
        let lease = lease?;
        let (id, status) = (lease.job.id, completed().status());
        // After the queued and the started event.
        let frame = completed().frame(Seq(3));
        self.send(Command::Finish(Fence::from(&*lease), frame, status));
        self.send(Command::Forget(id));
        if let Some(waiting) = self.waiting.get_mut(&lease.job.tenant) {
            *waiting -= 1;
        }
        Some(lease.job)
    }
}

/// The charges that two tenants were served while both had jobs waiting all the time.
#[derive(Clone, Copy, Default)]
struct Race {
    ahead: i64,
    most: i64,
    least: i64,
}

/// The tenants, their weights and the steps of their jobs.
const RACERS: [(&str, f64, u32); 2] = [("a", 1.0, 20), ("b", 2.5, 30)];

/// Every order of so many more submits and claims. Returns the number of claims.
fn explore(fleet: &Fleet, race: Race, left: usize) -> usize {
    if left == 0 {
        return 0;
    }
    let mut claims = 0;
    for (tenant, weight, steps) in RACERS {
        let mut next = fleet.clone();
        next.submit(tenant, weight, steps);
        let both = RACERS.iter().all(|racer| fleet.waiting.get(racer.0).is_some_and(|jobs| *jobs > 0));
        claims += explore(&next, if both { race } else { Race::default() }, left - 1);
    }
    let both = RACERS.iter().all(|racer| fleet.waiting.get(racer.0).is_some_and(|jobs| *jobs > 0));
    let mut next = fleet.clone();
    let Some(job) = next.serve() else { return claims };
    let mut race = race;
    if both {
        race.ahead += if job.tenant == RACERS[0].0 { job.charge() as i64 } else { -(job.charge() as i64) };
        race.most = race.most.max(race.ahead);
        race.least = race.least.min(race.ahead);
        let bound: u64 = RACERS
            .iter()
            .map(|(tenant, weight, steps)| job_of_tenant(0, tenant, *weight, *steps).charge())
            .sum();
        assert!(
            race.most - race.least <= bound as i64,
            "{} is more than one job of each",
            race.most - race.least
        );
    }
    claims + 1 + explore(&next, race, left - 1)
}

#[test]
fn no_order_gives_a_tenant_more_than_a_job_above_its_share() {
    assert!(explore(&Fleet::new(), Race::default(), 10) > 10_000);
}

#[test]
fn two_hundred_tenants_get_their_shares() {
    const TENANTS: usize = 200;
    let steps = |n: usize| [5, 12, 20, 35, 50][n % 5];
    let weight = |n: usize| [1.0, 1.0, 0.5, 2.0][n % 4];
    // How many jobs a tenant has waiting at any time.
    let greed = |n: usize| 2 + (n * 7919) % 40;
    let name = |n: usize| format!("t{n:03}");
    let mut fleet = Fleet::new();
    for n in 0..TENANTS {
        (0..greed(n)).for_each(|_| fleet.submit(&name(n), weight(n), steps(n)));
    }
    let mut served: BTreeMap<String, u64> = BTreeMap::new();
    // Until each has had sixty of the largest jobs.
    let end = 60 * TENANTS as u64 * job_of_tenant(0, "", 1.0, 50).charge();
    let mut all = 0;
    while all < end {
        let job = fleet.serve().unwrap();
        let n: usize = job.tenant[1..].parse().unwrap();
        all += job.charge();
        *served.entry(job.tenant).or_default() += job.charge();
        fleet.submit(&name(n), weight(n), steps(n));
    }
    // A charge is work / weight, so equal charges are shares in proportion to the weights.
    let fair = all as f64 / TENANTS as f64;
    for (tenant, charge) in served {
        let share = charge as f64 / fair;
        assert!((0.95..=1.05).contains(&share), "{tenant} got {share} of its share");
    }
    // One that was away and comes back with one job is served before all others' second jobs.
    fleet.submit("new", 1.0, 50);
    let waits = (1..).find(|_| fleet.serve().unwrap().tenant == "new").unwrap();
    assert!(waits <= TENANTS + 1, "{waits}");
}
