//! Events in the log and on the channel, and the stored jobs and workers.

use bytes::Bytes;
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode, Frame, Image, Timings, Warning, WarningCode, ascii_json},
    id::{App, JobId, Seq, WorkerId},
    job::{Class, Job, Progress, WorkerRecord, WorkerState},
    needs::Needs,
    recipe::ModelRecipe,
    request::{Defaults, ImageSpec, Offer, PreviewSource, Unknown},
    webhook::{Webhook, WebhookForm},
};
use glimpse_test_support::fuzz::{self, Change, Damage, changes, damages};
use proptest::{collection::vec, prelude::*};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn image() -> impl Strategy<Value = Image> {
    (vec(any::<u8>(), 0..60), any::<u32>(), any::<u32>())
        .prop_map(|(bytes, width, height)| Image::new("image/jpeg", width, height, &bytes))
}

fn event() -> impl Strategy<Value = Event> {
    use CancelledBy::{Client, Disconnect, Operator};
    use FailureCode::{
        AttemptsExhausted, BadRequest, ContentPolicyViolation, Internal, JobLost, RunTimeout, StartTimeout,
    };
    let codes =
        [AttemptsExhausted, StartTimeout, RunTimeout, JobLost, BadRequest, ContentPolicyViolation, Internal];
    let seconds = || prop::num::f64::POSITIVE | prop::num::f64::ZERO;
    prop_oneof![
        any::<u64>().prop_map(|position| Event::Queued { position }),
        (any::<u32>(), "[a-zA-Z0-9-]{1,64}").prop_map(|(attempt, worker)| Event::Started {
            attempt,
            worker: worker.parse::<WorkerId>().unwrap()
        }),
        (any::<u32>(), any::<u32>(), any::<u32>(), image())
            .prop_map(|(attempt, step, steps, image)| Event::Preview { attempt, step, steps, image }),
        (any::<u32>(), 0_u32..3, any::<u32>(), any::<u32>(), image()).prop_map(
            |(attempt, index, step, steps, image)| Event::Partial { attempt, index, step, steps, image }
        ),
        (vec(image(), 0..4), any::<u64>(), seconds(), seconds(), vec(any::<String>(), 0..3)).prop_map(
            |(images, seed, inference, decode, messages)| {
                let warning = |message| Warning { code: WarningCode::PromptTruncated, message };
                let warnings = messages.into_iter().map(warning).collect();
                Event::Completed {
                    images,
                    seed,
                    seeds: Vec::new(),
                    finished_at_step: None,
                    timings: Timings { inference, decode },
                    warnings,
                }
            }
        ),
        (prop::sample::select(codes.to_vec()), any::<String>())
            .prop_map(|(code, message)| Event::Failed { code, message }),
        prop::sample::select(vec![Client, Disconnect, Operator]).prop_map(|by| Event::Cancelled { by }),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0_u64..100, Just(u64::MAX)]
}

/// Reads a frame and its event.
fn read(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let Some(frame) = Frame::parse(Bytes::from(bytes)) else { return Ok(()) };
    prop_assert!(frame.bytes().ends_with(&frame.json()));
    prop_assert!(frame.seq.next() >= frame.seq);
    if let Some(event) = frame.event() {
        prop_assert_eq!(event.kind(), frame.kind);
        if let Event::Preview { image, .. } = event {
            let _ = image.decode();
        }
    }
    Ok(())
}

/// Reads a changed document. A value that is read must survive a round trip.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq>(
    whole: &T,
    changes: &[Change],
    damages: &[Damage],
) -> Result<(), TestCaseError> {
    // The memory must not count for another test.
    fuzz::alone(|| {
        let text = ascii_json(whole);
        prop_assert!(text.is_ascii());
        prop_assert!(serde_json::from_str::<T>(&text).is_ok_and(|read| read == *whole), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut text = Change::all(changes, &document).into_bytes();
        damages.iter().for_each(|damage| damage.apply(&mut text));
        if let Ok(read) = serde_json::from_slice::<T>(&text) {
            let text = ascii_json(&read);
            prop_assert!(serde_json::from_str::<T>(&text).is_ok_and(|again| again == read), "{text}");
        }
        Ok(())
    })
}

fn job() -> Job {
    let app: App = "glimpse/demo".parse().unwrap();
    let offer = Offer {
        native_width: 64,
        native_height: 64,
        max_pixels: 1 << 20,
        schedulers: ["DDIMScheduler".to_owned()].into(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let black =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
    let black = format!("data:image/png;base64,{black}");
    let body = json!({
        "prompt": "a fox", "seed": 7, "clip_skip": 1, "scheduler": "DDIM", "image": black, "mask": black,
        "strength": 0.5, "loras": [{ "path": "style/x", "scale": -1 }],
    });
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let spec = ImageSpec::check(body.as_object().unwrap().clone(), &offer, defaults).unwrap();
    Job {
        id: JobId::new(&app),
        affinity: spec.affinity(),
        needs: Needs::of(&spec),
        app,
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        weight: Default::default(),
        class: Class::Low,
        spec,
        digest: "0".repeat(64),
        start_timeout: std::time::Duration::from_millis(1500),
        run_timeout: std::time::Duration::from_secs(3600),
        retry_of: None,
        webhook: Some(Webhook {
            url: "https://example.com/hook".to_owned(),
            form: WebhookForm::Own,
            origin: "http://127.0.0.1:8080".to_owned(),
        }),
        traceparent: Some("00-0".to_owned()),
    }
}

fn worker() -> WorkerRecord {
    WorkerRecord {
        id: "gpu-1".parse().unwrap(),
        app: "glimpse/demo".parse().unwrap(),
        native_width: 64,
        native_height: 64,
        max_pixels: 4096,
        schedulers: vec!["DDIMScheduler".to_owned()],
        features: vec!["loras".to_owned()],
        loras: vec!["ink".to_owned()],
        device: "cpu".to_owned(),
        version: "0".to_owned(),
        state: WorkerState::Busy,
        progress: Some(Progress { step: 3, steps: 20 }),
        results: Some("s3://pictures/fleet".to_owned()),
        model: Some(ModelRecipe { name: "sdxl".to_owned(), sha256: Some("0".repeat(64)) }),
    }
}

proptest! {
    #![proptest_config(fuzz::cases(2000))]

    #[test]
    fn an_event_round_trips(seq in number(), event in event()) {
        let frame = Frame::new(Seq(seq), &event);
        prop_assert!(frame.bytes().is_ascii());
        let read = Frame::parse(frame.bytes().clone());
        prop_assert_eq!(read.as_ref(), Some(&frame));
        prop_assert_eq!(read.and_then(|read| read.event()), Some(event));
    }

    #[test]
    fn a_damaged_frame_is_read_or_none(seq in number(), event in event(), damages in damages()) {
        let mut bytes = Frame::new(Seq(seq), &event).bytes().to_vec();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        read(bytes)?;
    }

    #[test]
    fn a_frame_of_other_words_is_read_or_none(seq in number(), event in event(), changes in changes()) {
        let json = Change::all(&changes, &serde_json::to_value(&event).unwrap());
        read(format!("{seq} {json}").into_bytes())?;
    }

    #[test]
    fn any_bytes_are_a_frame_or_none(bytes in vec(any::<u8>(), 0..200)) {
        read([&b"7 {\"type\":\"preview\""[..], &bytes].concat())?;
        read(bytes)?;
    }

    #[test]
    fn a_changed_job_is_read_or_refused(changes in changes(), damages in prop_oneof![Just(Vec::new()), damages()]) {
        round_trip(&job(), &changes, &damages)?;
    }

    #[test]
    fn a_changed_worker_is_read_or_refused(changes in changes(), damages in prop_oneof![Just(Vec::new()), damages()]) {
        round_trip(&worker(), &changes, &damages)?;
    }
}
