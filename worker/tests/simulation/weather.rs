//! Faults of connections to the store, and outages of the store.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::chance::Chance;

/// The probability of each fault of a command.
struct Rates {
    /// The request is lost.
    cut: f64,
    /// It is executed, and the response is lost.
    unanswered: f64,
    /// It is executed twice.
    twice: f64,
    /// It is executed long after it was sent.
    late: f64,
}

/// The store is unavailable for some time.
struct Outage {
    from: Instant,
    until: Instant,
    /// Requests wait in its socket and are executed in the end, instead of being refused.
    frozen: bool,
}

/// The faults of a run: a phase with faults, then a phase without.
pub struct Weather {
    rates: Rates,
    outages: Vec<Outage>,
    /// The time after which there are no faults.
    pub calm_from: Instant,
}

/// What happens to one command.
pub struct Fate {
    pub there: Duration,
    /// It arrives.
    pub arrives: bool,
    /// It is executed once more, later by this time.
    pub again: Option<Duration>,
    pub back: Duration,
    /// Its response arrives.
    pub answered: bool,
    /// If the response does not arrive, the connection is silent instead of broken.
    pub silent: bool,
}

impl Weather {
    pub fn new(chance: &mut Chance, storm: Duration) -> Self {
        let begun = Instant::now();
        let worst = chance.pick(&[0.0, 0.02, 0.1, 0.25]);
        let mut rate = || worst * chance.number(0..101) as f64 / 100.0;
        let rates = Rates { cut: rate(), unanswered: rate(), twice: rate(), late: rate() };
        let outages = (0..chance.number(0..4))
            .map(|_| {
                let from = begun + chance.millis(0..storm.as_millis() as u64);
                let long = chance.pick(&[2_000, 10_000, 45_000]);
                Outage { from, until: from + chance.millis(500..long), frozen: chance.of(0.5) }
            })
            .collect::<Vec<_>>();
        let calm_from = outages.iter().map(|outage| outage.until).fold(begun + storm, Instant::max);
        Self { rates, outages, calm_from }
    }

    pub fn fate(&self, chance: &mut Chance) -> Fate {
        let (there, back) = (chance.millis(0..12), chance.millis(0..12));
        let mut fate = Fate { there, arrives: true, again: None, back, answered: true, silent: false };
        if Instant::now() >= self.calm_from {
            return fate;
        }
        fate.arrives = !chance.of(self.rates.cut);
        fate.answered = !chance.of(self.rates.unanswered);
        fate.silent = chance.of(0.3);
        if chance.of(self.rates.twice) {
            let most = chance.pick(&[1, 100, 12_000]);
            fate.again = Some(chance.millis(0..most));
        }
        if chance.of(self.rates.late) {
            fate.there += chance.millis(0..9_000);
        }
        fate
    }

    /// Waits until the store accepts a request; returns whether it does.
    pub async fn taken(&self) -> bool {
        while let Some(outage) = self.outage() {
            if !outage.frozen {
                return false;
            }
            sleep_until(outage.until).await;
        }
        true
    }

    /// Whether the store responds at the moment.
    pub fn is_up(&self) -> bool {
        self.outage().is_none()
    }

    fn outage(&self) -> Option<&Outage> {
        let now = Instant::now();
        self.outages.iter().find(|outage| (outage.from..outage.until).contains(&now))
    }
}
