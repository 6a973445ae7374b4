//! The random steps of the property test for both implementations.

use glimpse_shared::{
    event::CancelledBy,
    needs::{Capabilities, Needs, Word},
};
use proptest::prelude::*;

pub const JOBS: usize = 7;
pub const WORKERS: usize = 3;
/// The job and the worker of the second app.
pub const OTHERS: (usize, usize) = (JOBS - 1, WORKERS - 1);

#[derive(Debug, Clone)]
pub enum Step {
    Submit {
        job: usize,
        other_body: bool,
    },
    Claim {
        worker: usize,
        affinity: usize,
        capabilities: usize,
        number: Number,
    },
    Renew {
        lease: usize,
        checkpoint: Option<u8>,
    },
    Publish {
        lease: usize,
        /// The index of a partial picture.
        partial: Option<u32>,
        /// How many steps after the newest preview of all.
        steps: u32,
        old: bool,
    },
    Finish {
        lease: usize,
        failed: bool,
        old: bool,
    },
    Release {
        lease: usize,
        fault: Option<usize>,
    },
    Cancel {
        job: usize,
        by: CancelledBy,
    },
    FinishEarly {
        job: usize,
    },
    Reap {
        late: u64,
    },
    Pass {
        micros: u64,
    },
    Heartbeat {
        worker: usize,
        busy: bool,
    },
    /// Takes a token of a worker of the first or the second app, if there is one.
    TakeWake {
        worker: usize,
        capabilities: usize,
    },
    Wake {
        worker: usize,
        capabilities: usize,
    },
    /// Of the job itself, or of its retry.
    Retry {
        job: usize,
        of_retried: bool,
    },
    Forget {
        job: usize,
    },
    TakeDeliveries,
    /// Reports the try of one of the newest deliveries.
    Settle {
        delivery: usize,
        acknowledged: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Number {
    Next,
    Same,
    Before,
}

/// The affinities of jobs and workers.
pub const AFFINITIES: [Option<&str>; 3] = [None, Some("a1"), Some("b2")];

pub const REASONS: [&str; 4] =
    ["out of memory", "\"quoted\" \\ and \n new", "naïve — 🪁", "4294967295 attempts: %s %1 {}"];

/// The needs of jobs.
pub fn needs() -> [Needs; 4] {
    let [a, b] = ["a", "b"].map(Word::scheduler);
    [Needs::default(), Needs::new(64, []), Needs::new(64, [a.clone()]), Needs::new(256, [a, b])]
}

pub fn capabilities() -> [Capabilities; KINDS] {
    let [a, b] = ["a", "b"].map(Word::scheduler);
    [
        Capabilities::new(256, [a.clone(), b.clone()]),
        Capabilities::new(255, [a, b.clone()]),
        Capabilities::new(64, [b]),
        Capabilities::default(),
    ]
}

pub const KINDS: usize = 4;

pub fn step() -> impl Strategy<Value = Step> {
    let job = || 0..JOBS;
    let kind = || prop_oneof![3 => Just(0), 2 => 1..KINDS];
    // Mostly current leases, sometimes old ones.
    let lease = || prop_oneof![4 => Just(0), 3 => 1..4_usize, 1 => 4..9_usize];
    let by =
        prop_oneof![Just(CancelledBy::Client), Just(CancelledBy::Disconnect), Just(CancelledBy::Operator)];
    let number = prop_oneof![6 => Just(Number::Next), 2 => Just(Number::Same), 1 => Just(Number::Before)];
    prop_oneof![
        9 => (job(), prop::bool::weighted(0.1)).prop_map(|(job, other_body)| Step::Submit { job, other_body }),
        8 => (0..WORKERS, 0..AFFINITIES.len(), kind(), number).prop_map(
            |(worker, affinity, capabilities, number)| Step::Claim { worker, affinity, capabilities, number },
        ),
        4 => (0..WORKERS, kind()).prop_map(|(worker, capabilities)| Step::TakeWake { worker, capabilities }),
        1 => (0..WORKERS, kind()).prop_map(|(worker, capabilities)| Step::Wake { worker, capabilities }),
        3 => (lease(), prop::option::weighted(0.6, any::<u8>()))
            .prop_map(|(lease, checkpoint)| Step::Renew { lease, checkpoint }),
        6 => (lease(), prop::option::weighted(0.3, 0..3_u32), 1..50_u32, prop::bool::weighted(0.2))
            .prop_map(|(lease, partial, steps, old)| Step::Publish { lease, partial, steps, old }),
        4 => (lease(), prop::bool::weighted(0.25), prop::bool::weighted(0.3))
            .prop_map(|(lease, failed, old)| Step::Finish { lease, failed, old }),
        3 => (lease(), prop::option::weighted(0.8, 0..REASONS.len()))
            .prop_map(|(lease, fault)| Step::Release { lease, fault }),
        1 => (job(), by).prop_map(|(job, by)| Step::Cancel { job, by }),
        3 => job().prop_map(|job| Step::FinishEarly { job }),
        4 => prop_oneof![4 => Just(0), 1 => 4_999_999..5_000_002_u64].prop_map(|late| Step::Reap { late }),
        // Multiples of 5 s hit every deadline to the microsecond; 1 s misses it.
        4 => prop_oneof![6 => (1..4_u64).prop_map(|n| n * 5_000_000), 1 => Just(1)]
            .prop_map(|micros| Step::Pass { micros }),
        1 => (0..WORKERS, any::<bool>()).prop_map(|(worker, busy)| Step::Heartbeat { worker, busy }),
        3 => (job(), prop::bool::weighted(0.3)).prop_map(|(job, of_retried)| Step::Retry { job, of_retried }),
        2 => job().prop_map(|job| Step::Forget { job }),
        4 => Just(Step::TakeDeliveries),
        4 => (lease(), prop::bool::weighted(0.3))
            .prop_map(|(delivery, acknowledged)| Step::Settle { delivery, acknowledged }),
    ]
}
