//! Carries out the plan's faults on the fleet.

use std::time::{Duration, Instant};

use glimpse_test_support::Weather;

use crate::{
    dice::Dice,
    fleet::Fleet,
    plan::{Fault, Strike},
    process::{Place, Process},
};

/// How long a process may take to shut down.
const ENDS: Duration = Duration::from_secs(40);
/// A worker whose connection is interrupted for longer than this may lose its lease of 15 s: it renews every 5 s,
/// with a timeout of 5 s.
const LONG: Duration = Duration::from_secs(8);
/// How long a fault looks for a process that has no other fault at the moment.
const LOOKING: Duration = Duration::from_secs(30);

/// How long a fault waits for a worker that has a job.
const JOB_WAIT: Duration = Duration::from_secs(3);
/// The pause between two looks.
const MOMENT: Duration = Duration::from_millis(20);

/// The exclusive right to inject a fault into a process.
type Turn<'a> = tokio::sync::MutexGuard<'a, Process>;

impl Fleet {
    pub async fn strike(&self, Strike { fault, mut dice, .. }: Strike) {
        let begun = Instant::now();
        let inflicted = self.inflict(fault, &mut dice).await;
        if !fault.is_of_a_worker() {
            self.notes.lock().unwrap().disturbed.push((begun, Instant::now()));
        }
        match inflicted {
            Some(()) => *self.notes.lock().unwrap().faults.entry(fault.kind()).or_default() += 1,
            None => self.broken(format!("there was nobody for {fault:?} to strike")),
        }
    }

    /// `None` if there was no process to inject it into.
    async fn inflict(&self, fault: Fault, dice: &mut Dice) -> Option<()> {
        match fault {
            Fault::KillWorker { down } => {
                let (place, mut process) = self.stopped_worker(dice).await?;
                self.take_from(fault, &process);
                self.kill(place, &mut process, down).await;
            }
            Fault::FreezeWorker { frozen } => {
                let (_, process) = self.stopped_worker(dice).await?;
                self.take_from(fault, &process);
                tokio::time::sleep(frozen).await;
                process.signal("CONT");
            }
            Fault::DrainWorker => {
                let (place, mut process) = self.stopped_worker(dice).await?;
                self.take_from(fault, &process);
                self.drain(place, &mut process).await;
            }
            Fault::KillApi { down } => {
                let (place, mut process) = self.undisturbed_api(dice).await?;
                self.kill(place, &mut process, down).await;
            }
            Fault::FreezeApi { frozen } => {
                let (_, process) = self.undisturbed_api(dice).await?;
                process.signal("STOP");
                tokio::time::sleep(frozen).await;
                process.signal("CONT");
            }
            Fault::DrainApi => {
                let (place, mut process) = self.undisturbed_api(dice).await?;
                self.drain(place, &mut process).await;
            }
            Fault::RestartRedis { down } => self.restart_redis(down).await,
            Fault::FreezeRedis { frozen } => {
                let _turn = self.redis_turn.lock().await;
                self.redis.read().unwrap().pause();
                tokio::time::sleep(frozen).await;
                self.redis.read().unwrap().resume();
            }
            Fault::Cut => self.any_place(dice).proxy.cut(),
            Fault::HalfClose => self.any_place(dice).proxy.half_close(),
            Fault::Weather { weather, lasts, cut } => {
                let place = self.any_place(dice);
                let _way = place.way.lock().await;
                place.proxy.set(weather);
                if lasts >= LONG && !matches!(weather, Weather::Slow(_)) {
                    self.notes.lock().unwrap().struck.extend(place.worker());
                }
                tokio::time::sleep(lasts).await;
                if cut {
                    place.proxy.cut();
                }
                place.proxy.set(Weather::Clear);
            }
        }
        Some(())
    }

    fn any_place(&self, dice: &mut Dice) -> &Place {
        &self.places[dice.among(0..self.places.len() as u64) as usize]
    }

    /// An API that has no other fault at the moment.
    async fn undisturbed_api(&self, dice: &mut Dice) -> Option<(&Place, Turn<'_>)> {
        let mut places: Vec<_> = self.apis().collect();
        dice.shuffle(&mut places);
        let begun = Instant::now();
        while begun.elapsed() < LOOKING {
            for place in &places {
                let Ok(mut process) = place.process.try_lock() else { continue };
                if process.ended().is_none() {
                    return Some((place, process));
                }
            }
            tokio::time::sleep(MOMENT).await;
        }
        None
    }

    /// A worker that has no other fault at the moment, stopped while it runs a job; an idle one if all of them stay
    /// idle.
    async fn stopped_worker(&self, dice: &mut Dice) -> Option<(&Place, Turn<'_>)> {
        let mut places: Vec<_> = self.places.iter().filter(|place| !place.is_api()).collect();
        dice.shuffle(&mut places);
        let begun = Instant::now();
        while begun.elapsed() < LOOKING {
            for place in &places {
                let Ok(mut process) = place.process.try_lock() else { continue };
                let Some(worker) = process.worker().filter(|_| process.ended().is_none()) else { continue };
                let any = begun.elapsed() > JOB_WAIT;
                if !any && self.watcher.job_of(&worker).is_none() {
                    continue;
                }
                process.signal("STOP");
                // A write that it sent before may still end its job.
                tokio::time::sleep(MOMENT).await;
                if any || self.watcher.job_of(&worker).is_some() {
                    return Some((place, process));
                }
                process.signal("CONT");
            }
            tokio::time::sleep(MOMENT).await;
        }
        None
    }

    /// Records that a worker may lose its job now.
    fn take_from(&self, fault: Fault, process: &Process) {
        let Some(worker) = process.worker() else { return };
        let mut notes = self.notes.lock().unwrap();
        if let Some(job) = self.watcher.job_of(&worker) {
            notes.lost.push((fault.kind(), job, Instant::now()));
        }
        notes.struck.insert(worker);
    }

    async fn kill(&self, place: &Place, process: &mut Process, down: Duration) {
        place.leave();
        process.signal("KILL");
        if process.exit(ENDS).await.is_none() {
            self.broken(format!("{} outlives a kill", place.name));
        }
        tokio::time::sleep(down).await;
        place.start(process).await;
    }

    pub async fn drain(&self, place: &Place, process: &mut Process) {
        place.leave();
        process.signal("TERM");
        // A stopped worker receives the signal when it continues.
        process.signal("CONT");
        match process.exit(ENDS).await {
            Some(status) if status.success() => {}
            // A poison job may have broken the device while the worker drained.
            Some(status) if status.code() == Some(1) && process.log().contains("scripted device fault") => {}
            Some(status) => self.broken(format!("{} was stopped, and ended with {status}", place.name)),
            None => {
                self.broken(format!("{} was stopped and did not end within {ENDS:?}", place.name));
                process.signal("KILL");
                process.exit(ENDS).await;
            }
        }
        place.start(process).await;
    }

    async fn restart_redis(&self, down: Duration) {
        let _turn = self.redis_turn.lock().await;
        // No process reaches the new server before the watcher does.
        self.places.iter().for_each(|place| place.proxy.refuse(true));
        tokio::task::block_in_place(|| self.redis.write().unwrap().kill());
        tokio::time::sleep(down).await;
        tokio::task::block_in_place(|| {
            let mut redis = self.redis.write().unwrap();
            redis.restart();
            self.watcher.listen(&redis);
        });
        self.places.iter().for_each(|place| place.proxy.refuse(false));
    }
}
