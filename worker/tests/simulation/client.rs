//! A client: submits a job and follows it. Sometimes it submits twice, reconnects or cancels.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Event, Followed, Frame},
    id::{App, JobId, Seq},
    job::{Class, Job},
    needs::Needs,
    request::{Defaults, Dialect, Endpoint, ImageSpec, Names, Offer, PreviewSource, Unknown},
    store::{Cancel, FinishEarly, Shown, Store, Submit},
};
use glimpse_test_support::history::{Entry, History};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    chance::Chance,
    engine::MISHAPS,
    wire::{Process, Wire},
    world::World,
};

/// The width of a job that only every second machine can run.
const LARGE: u32 = 1024;

pub fn app() -> App {
    "glimpse/demo".parse().unwrap()
}

/// The `number`th job of a run.
pub fn job(number: u64, chance: &mut Chance) -> Job {
    let prompt = if chance.of(0.3) { chance.pick(&MISHAPS) } else { "a heart" };
    let offer = Offer {
        native_width: 64,
        native_height: 64,
        max_pixels: 1 << 20,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = json!({
        "prompt": prompt,
        "seed": number,
        "num_inference_steps": chance.number(2..14),
        "preview_every": chance.number(0..5),
        "stream": true,
        "partial_images": chance.number(0..4),
        "width": if chance.of(0.3) { LARGE } else { 64 },
    });
    let dialect = Dialect { defaults, names: Names::OpenAi(Endpoint::Generation) };
    let spec = ImageSpec::check(body.as_object().unwrap().clone(), &offer, dialect).unwrap();
    let hasty = chance.of(0.15);
    Job {
        id: JobId::from_parts(&app(), 1_795_564_800_000, chance.number(0..u64::MAX)),
        app: app(),
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        weight: Default::default(),
        class: if chance.of(0.2) { Class::Low } else { Class::Normal },
        needs: Needs::of(&spec),
        spec,
        digest: number.to_string(),
        start_timeout: if hasty { chance.millis(1_000..30_000) } else { Duration::from_secs(3600) },
        run_timeout: if hasty || prompt == "stalls" {
            chance.millis(5_000..90_000)
        } else {
            Duration::from_secs(3600)
        },
        retry_of: None,
        webhook: None,
        affinity: chance.of(0.3).then(|| "a lora".to_owned()),
        traceparent: None,
    }
}

/// The client of one job, from the submit to the end.
pub async fn live(world: Arc<World>, job: Job, storm: Duration, mut chance: Chance) {
    sleep(chance.millis(0..storm.as_millis() as u64)).await;
    let wire = Arc::new(Wire::new(world.clone(), Arc::new(Process::default()), chance.split()));
    if chance.of(0.05) {
        // The same request on another connection, as with an idempotency key.
        let (other, job) = (Arc::new(Wire::new(world.clone(), Arc::default(), chance.split())), job.clone());
        let later = chance.millis(0..3_000);
        tokio::spawn(async move {
            sleep(later).await;
            submit(&other, &job).await
        });
    }
    if !submit(&wire, &job).await {
        return world.count("refused");
    }
    if chance.of(0.12) {
        let (wire, later) = (wire.clone(), chance.about(Duration::from_secs(8)));
        let (id, world) = (job.id, world.clone());
        tokio::spawn(async move {
            sleep(later).await;
            while let Err(_) | Ok(Cancel::Unknown) = wire.cancel(id, CancelledBy::Client).await {
                sleep(Duration::from_secs(1)).await;
            }
            world.count("cancels");
        });
    }
    if chance.of(0.1) {
        let (wire, later) = (wire.clone(), chance.about(Duration::from_secs(6)));
        let (id, world) = (job.id, world.clone());
        tokio::spawn(async move {
            sleep(later).await;
            while let Err(_) | Ok(FinishEarly::TooEarly) = wire.finish_early(id).await {
                sleep(Duration::from_secs(1)).await;
            }
            world.count("asked to finish early");
        });
    }
    if let Some(end) = follow(&world, &job, &mut chance).await {
        let shown = world.store.status_with(job.id, Shown::End).await.unwrap();
        if shown.is_some_and(|(_, shown)| shown.as_ref() != Some(&end)) {
            world.broken(|| format!("{}: the end that was followed is not the end", job.id));
        }
    }
}

/// Submits until the store answers. Returns whether the job was accepted.
async fn submit(wire: &Wire, job: &Job) -> bool {
    loop {
        match wire.submit(job).await {
            Ok(Submit::Full { .. } | Submit::Crowded { .. }) => return false,
            Ok(_) => return true,
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

/// The partial pictures of a job, each once and in order, if this is its last step.
fn asked(spec: &ImageSpec, last: Option<u32>) -> Vec<u32> {
    let steps = spec.num_inference_steps();
    (0..last.map_or(steps, |last| last + 1))
        .filter_map(|step| spec.partials().index_after(step, steps))
        .collect()
}

/// Follows a job to its end, on one connection or on several.
async fn follow(world: &World, job: &Job, chance: &mut Chance) -> Option<Frame> {
    let (id, mut partials) = (job.id, Vec::new());
    let broken = |what: &str| world.broken(|| format!("{id}: a follower {what}"));
    let (mut last, mut history): (Option<Seq>, _) = (None, History::default());
    let mut stay = chance.of(0.7);
    loop {
        let mut events = world.store.follow(id, last);
        let stays = if stay { Duration::MAX / 4 } else { chance.about(Duration::from_secs(6)) };
        let cut = sleep(stays);
        tokio::pin!(cut);
        loop {
            let followed = tokio::select! {
                biased;
                followed = events.next() => followed,
                () = &mut cut => break,
            };
            let Some(Followed::Frame(frame)) = followed else {
                broken("was left without an end");
                return None;
            };
            let Some(entry) = Entry::of(&frame) else {
                broken("heard what is no event");
                return None;
            };
            // The log may have dropped previews before they were read.
            history.skip();
            for wrong in history.hear(frame.seq, entry) {
                broken(&format!("heard {wrong}"));
            }
            last = Some(frame.seq);
            if let Some(Event::Partial { index, .. }) = frame.event() {
                partials.push(index);
            }
            if let Some(Event::Completed { finished_at_step, .. }) = frame.event() {
                // An earlier attempt may have come further than the one that finished early.
                let (all, least) = (asked(&job.spec, None), asked(&job.spec, finished_at_step).len());
                if !all.starts_with(&partials) || partials.len() < least {
                    broken(&format!("heard the partial pictures {partials:?}"));
                }
                if finished_at_step.is_some() {
                    world.count("finished early");
                }
            }
            if frame.kind.is_terminal() {
                let over = timeout(Duration::from_secs(1), events.next()).await;
                if over != Ok(None) {
                    broken("heard something after the end");
                }
                return Some(frame);
            }
        }
        stay = chance.of(0.3);
        drop(events);
        sleep(chance.millis(0..4_000)).await;
    }
}
