//! A fleet of real processes serves hundreds of jobs while processes are killed, frozen and drained, connections are
//! cut, delayed and silenced, and Redis is restarted. Then everything that was observed is checked against the rules in
//! `oracle.rs`.
//!
//! A seed decides what happens and when. It is the same in every run, unless `CHAOS_JOBS` gives the number of jobs:
//! then it comes from the clock. It is printed; `CHAOS_SEED`, `CHAOS_JOBS` and `CHAOS_FAULTS` repeat a run. The seed
//! does not decide how threads are scheduled, so a seed that failed once may pass.
//!
//! With `GLIMPSE_PREVIOUS_BIN`, a folder with the programs of the release before, the fleet also rolls from that release to
//! this one, back, and forward again; `CHAOS_FAULTS=0` for this alone.
//!
//! ```text
//! plan.rs     the faults and jobs, from the seed   faults.rs   carries out the faults
//! fleet.rs    the processes around one Redis       process.rs  one of them, behind its proxy
//! visitor.rs  the clients                          client.rs   their retries and reconnects
//! watcher.rs  every event, from Redis itself       audit.rs    checks after each job and after the run
//! story.rs    the observations                     oracle.rs   the rules
//! roll.rs     rolling upgrades
//! hooks.rs    the receiver of webhooks, and its rules
//! ```

#[cfg(test)]
mod audit;
#[cfg(test)]
mod client;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod process;
#[cfg(test)]
mod release;
#[cfg(test)]
mod report;
#[cfg(test)]
mod roll;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sse;
#[cfg(test)]
mod story;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod visitor;
#[cfg(test)]
mod watcher;

#[cfg(test)]
mod run {
    use std::{sync::Arc, time::Instant};

    use futures::future::join_all;
    use reqwest::Client;
    use tokio::{sync::watch, task::JoinHandle};

    use crate::{
        audit::Auditor,
        dice::Dice,
        fleet::Fleet,
        hooks,
        oracle::judge,
        plan::Plan,
        report::Report,
        story::{Fate, Story, World},
        visitor::{Testimony, visit},
    };

    /// How much an API's memory may grow during a run: buffers that the allocator keeps, and nothing per job.
    const MOST_GROWTH: u64 = 64 << 20;

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_lost() {
        let plan = Plan::from_env();
        println!("{}", plan.command());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let fleet = Arc::new(Fleet::start().await);
        let resident = fleet.resident().await;
        let begun = Instant::now();

        let supervisor = tokio::spawn({
            let fleet = fleet.clone();
            async move { fleet.supervise().await }
        });
        let auditor = |of| Auditor { fleet: fleet.clone(), http: http.clone(), dice: Dice::new(of) };
        let (all, over) = watch::channel(false);
        let auditing = tokio::spawn(auditor(1).watch(over));
        let visits = visits(&plan, &fleet, &http, begun);
        tokio::join!(strikes(&plan, &fleet, begun), fleet.roll(plan.span()));
        fleet.heal().await;
        fleet.calm.send_replace(Some(tokio::time::Instant::now()));
        let testimonies: Vec<Testimony> = join_all(visits).await.into_iter().map(Result::unwrap).collect();
        let mut auditor = auditor(2);
        let left = auditor.left().await;
        let took = begun.elapsed();
        all.send_replace(true);
        let audits = auditing.await.unwrap();
        supervisor.abort();

        let mut world = World { left, dead: auditor.dead().await, ..World::default() };
        for (id, audit) in audits {
            world.stories.entry(id).or_default().audit = Some(audit);
        }
        // The expected end of a job with an unknown id is unknown: its client may have disconnected.
        world.stories.values_mut().for_each(|story| story.fate = Fate::Unwanted);
        let unanswered = testimonies.iter().map(|testimony| testimony.unanswered).sum();
        testimonies.into_iter().for_each(|testimony| hear(&mut world, testimony));
        for (id, watched) in fleet.watcher.jobs() {
            world.stories.entry(id).or_default().watched = watched;
        }
        for app in Fleet::apps() {
            world.fresh.insert(app.to_owned(), auditor.fresh(app).await);
        }
        world.immortal = auditor.immortal();
        world.blinks = fleet.watcher.blinks();
        world.broken.extend(fleet.panics());
        {
            let mut notes = fleet.notes.lock().unwrap();
            world.broken.append(&mut notes.broken);
            world.struck.clone_from(&notes.struck);
            let since = |at: Instant| at.saturating_duration_since(begun);
            world.disturbed = notes.disturbed.iter().map(|(from, to)| (since(*from), since(*to))).collect();
        }
        hooks::observed(&mut world.hooks, &fleet.receiver, begun);
        let memory = [resident, fleet.resident().await];
        if memory[1] > memory[0] + MOST_GROWTH {
            world.broken.push(format!("an API has grown from {} to {} bytes", memory[0], memory[1]));
        }
        let calls: usize = world.hooks.values().map(|hook| hook.calls.len()).sum();
        println!("{} webhooks, {calls} calls", world.hooks.len());
        println!("{}", Report::of(&fleet, &world, took, memory, unanswered));

        let breaches = judge(&world);
        for breach in &breaches {
            println!("{:?} {}: {}", breach.rule, breach.of, breach.why);
            println!("    {:?}", world.stories.get(&breach.of));
        }
        if !breaches.is_empty() {
            panic!(
                "{} rules broken; logs in {}; {}",
                breaches.len(),
                fleet.keep_logs().display(),
                plan.command()
            );
        }
    }

    fn visits(plan: &Plan, fleet: &Arc<Fleet>, http: &Client, begun: Instant) -> Vec<JoinHandle<Testimony>> {
        let visits = plan.visits().into_iter().enumerate().map(|(n, planned)| {
            let (fleet, http) = (fleet.clone(), http.clone());
            tokio::spawn(async move {
                tokio::time::sleep_until((begun + planned.at).into()).await;
                visit(fleet, http, n, planned).await
            })
        });
        visits.collect()
    }

    async fn strikes(plan: &Plan, fleet: &Arc<Fleet>, begun: Instant) {
        let strikes = plan.strikes().into_iter().map(|planned| {
            let fleet = fleet.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until((begun + planned.at).into()).await;
                fleet.strike(planned).await;
            })
        });
        join_all(strikes.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
    }

    fn hear(world: &mut World, testimony: Testimony) {
        for job in testimony.jobs {
            let story: &mut Story = world.stories.entry(job.id).or_default();
            story.fate = job.fate;
            story.request = job.request;
            story.follows.extend(job.follow);
            story.cancel_answers.extend(job.cancel_answers);
            story.finish_answers.extend(job.finish_answers);
        }
        world.keys.extend(testimony.keys);
        for (path, id) in testimony.hooks {
            world.hooks.insert(path, hooks::Hook { id, ..Default::default() });
        }
        world.retried.extend(testimony.retried);
        world.broken.extend(testimony.complaints);
    }
}
