//! Partial pictures: none is left out, and each comes once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::Event,
    job::{Job, Status},
    request::{Defaults, Dialect, Endpoint, ImageSpec, Names, Offer, PreviewSource, Unknown},
    store::SharedStore,
};
use glimpse_worker::runner::Ended;
use serde_json::json;

use crate::{
    props::{GRACE, busy_since, memory},
    script::{Script, all, flaky::Flaky, job, start, start_with, submit_job, until},
};

/// A job of 10 steps with a preview after each and three partial pictures: after 3, 5 and 8 steps.
fn with_partials() -> Job {
    let offer = Offer {
        native_width: 16,
        native_height: 8,
        max_pixels: 1 << 20,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let dialect = Dialect { defaults, names: Names::OpenAi(Endpoint::Generation) };
    let body = json!({ "prompt": "a heart", "num_inference_steps": 10, "preview_every": 1, "stream": true,
        "partial_images": 3 });
    let spec = ImageSpec::check(body.as_object().unwrap().clone(), &offer, dialect).unwrap();
    Job { spec, ..job("a heart", json!([])) }
}

/// The index and the step of each partial picture of an ended job.
fn partials(events: &[Event]) -> Vec<(u32, u32)> {
    assert!(matches!(events.last(), Some(Event::Completed { .. })));
    let partial = |event: &Event| match event {
        Event::Partial { index, step, image, .. } => {
            assert_eq!(image.content_type, "image/jpeg");
            Some((*index, *step))
        }
        _ => None,
    };
    events.iter().filter_map(partial).collect()
}

const EACH_ONCE: [(u32, u32); 3] = [(0, 2), (1, 4), (2, 7)];

#[tokio::test(flavor = "multi_thread")]
async fn partial_pictures_outlive_an_outage() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    let id = submit_job(&store, with_partials()).await;
    let _worker = start(&store, &script, "w", GRACE).await;
    busy_since(&store).await;
    flaky.up.store(false, Ordering::SeqCst);
    script.gate.open();
    // The pipeline does not wait for the store.
    until(async || script.decoded.load(Ordering::SeqCst) > 0).await;
    flaky.up.store(true, Ordering::SeqCst);
    assert_eq!(partials(&all(&store, id).await), EACH_ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_goes_on_elsewhere_has_each_partial_picture_once() {
    for steps in 1..10 {
        let (store, script) = (memory(), Script::default());
        let id = submit_job(&store, with_partials()).await;
        let every_step = Duration::from_nanos(1);
        let mut first = start_with(&store, &script, "w1", Duration::ZERO, every_step).await;
        script.gate.let_through(steps);
        until(async || script.steps.load(Ordering::SeqCst) == steps).await;
        first.drain();
        assert_eq!(first.end().await, Ended::Drained);
        assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Queued);
        let second = Script::default();
        second.gate.open();
        let _second = start_with(&store, &second, "w2", GRACE, every_step).await;
        assert_eq!(partials(&all(&store, id).await), EACH_ONCE, "drained in step {steps}");
    }
}
