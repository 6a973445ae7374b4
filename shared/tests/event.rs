//! Events on the wire, and ids.

use bytes::Bytes;
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode, Frame, Image, Timings, Warning, WarningCode},
    id::{App, JobId, KeySecret, Micros, Seq, WorkerId},
};

fn image() -> Image {
    Image::new("image/jpeg", 64, 128, &[0xff, 0xd8, 0xff])
}

#[test]
fn every_event_has_its_json() {
    let worker: WorkerId = "gpu-1".parse().unwrap();
    let url = r#"{"url":"data:image/jpeg;base64,/9j/","content_type":"image/jpeg","width":64,"height":128}"#;
    let events = [
        (Event::Queued { position: 3 }, r#"{"type":"queued","position":3}"#.to_owned()),
        (
            Event::Started { attempt: 1, worker },
            r#"{"type":"started","attempt":1,"worker":"gpu-1"}"#.to_owned(),
        ),
        (
            Event::Preview { attempt: 1, step: 5, steps: 20, image: image() },
            format!(r#"{{"type":"preview","attempt":1,"step":5,"steps":20,"image":{url}}}"#),
        ),
        (
            Event::Partial { attempt: 1, index: 0, step: 5, steps: 20, image: image() },
            format!(r#"{{"type":"partial","attempt":1,"index":0,"step":5,"steps":20,"image":{url}}}"#),
        ),
        (
            Event::Completed {
                images: vec![image()],
                seed: 7,
                seeds: Vec::new(),
                finished_at_step: None,
                timings: Timings { inference: 1.5, decode: 0.25 },
                warnings: Vec::new(),
            },
            format!(
                r#"{{"type":"completed","images":[{url}],"seed":7,"timings":{{"inference":1.5,"decode":0.25}}}}"#
            ),
        ),
        (
            Event::Completed {
                images: Vec::new(),
                seed: 7,
                seeds: vec![7, 3],
                finished_at_step: Some(11),
                timings: Timings { inference: 1.5, decode: 0.25 },
                warnings: vec![Warning {
                    code: WarningCode::PromptTruncated,
                    message: "the end has no effect".to_owned(),
                }],
            },
            concat!(
                r#"{"type":"completed","images":[],"seed":7,"seeds":[7,3],"finished_at_step":11,"#,
                r#""timings":{"inference":1.5,"decode":0.25},"#,
                r#""warnings":[{"code":"prompt_truncated","message":"the end has no effect"}]}"#
            )
            .to_owned(),
        ),
        (
            Event::Failed { code: FailureCode::RunTimeout, message: "too slow — naïve 🪁".to_owned() },
            r#"{"type":"failed","code":"run_timeout","message":"too slow \u2014 na\u00efve \ud83e\ude81"}"#
                .to_owned(),
        ),
        (Event::Cancelled { by: CancelledBy::Client }, r#"{"type":"cancelled","by":"client"}"#.to_owned()),
    ];
    for (event, json) in events {
        assert_eq!(event.to_json(), json);
        let frame = Frame::new(Seq(12), &event);
        assert_eq!(frame.bytes(), &Bytes::from(format!("12 {json}")));
        let parsed = Frame::parse(frame.bytes().clone()).unwrap();
        assert_eq!((&parsed, parsed.event().unwrap(), parsed.json()), (&frame, event, Bytes::from(json)));
    }
}

/// A rolling update has processes of two releases.
#[test]
fn a_completed_event_of_an_older_or_newer_release_is_read() {
    let read = |rest: &str| {
        let head = r#"1 {"type":"completed","images":[],"seed":7,"timings":{"inference":1.5,"decode":0.25}"#;
        match Frame::parse(Bytes::from(format!("{head}{rest}}}"))).unwrap().event().unwrap() {
            Event::Completed { seed: 7, warnings, .. } => warnings,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(""), []);
    let message = "no need to know".to_owned();
    let newer = r#","warnings":[{"code":"of_tomorrow","message":"no need to know","more":1}],"more":2"#;
    assert_eq!(read(newer), [Warning { code: WarningCode::Unknown, message }]);
}

#[test]
fn a_failure_of_a_newer_release_is_read_with_its_message() {
    let json = r#"9 {"type":"failed","code":"of_tomorrow","message":"why","more":1}"#;
    let failed = Frame::parse(Bytes::from(json)).unwrap().event().unwrap();
    assert_eq!(failed, Event::Failed { code: FailureCode::Internal, message: "why".to_owned() });
}

/// The names of docs/protocol.md.
#[test]
fn the_code_of_a_warning_has_a_name() {
    let name = |code: WarningCode| serde_json::to_value(code).unwrap();
    for (code, expected) in [
        (WarningCode::PromptTruncated, "prompt_truncated"),
        (WarningCode::ScoresIgnored, "scores_ignored"),
        (WarningCode::ControlnetIgnored, "controlnet_ignored"),
        (WarningCode::EmbeddingIgnored, "embedding_ignored"),
    ] {
        assert_eq!(name(code), expected);
    }
}

#[test]
fn the_last_number_is_a_number() {
    let frame = Frame::new(Seq(u64::MAX), &Event::Queued { position: 0 });
    assert_eq!(Frame::parse(frame.bytes().clone()), Some(frame));
    assert_eq!(Seq(u64::MAX).next(), Seq(u64::MAX));
}

#[test]
fn invalid_frames_are_rejected() {
    for bytes in [
        "",
        " ",
        "1",
        "x {\"type\":\"queued\"}",
        "1 {}",
        "1 {\"type\":\"other\"}",
        "-1 {\"type\":\"queued\"}",
    ] {
        assert_eq!(Frame::parse(Bytes::from(bytes)), None, "{bytes:?}");
    }
}

#[test]
fn an_image_gives_its_bytes_back() {
    assert_eq!(image().decode().unwrap(), [0xff, 0xd8, 0xff]);
}

#[test]
fn ids_are_checked() {
    for good in ["glimpse/demo", "a/b", "Owner-1/my_model.v2"] {
        assert_eq!(good.parse::<App>().unwrap().as_str(), good);
    }
    for bad in ["", "demo", "/demo", "a/", "a/b/c", "a b/c", "a/.b", "ä/b", &format!("a/{}", "x".repeat(65))]
    {
        assert!(bad.parse::<App>().is_err(), "{bad:?}");
    }
    let app: App = "glimpse/demo".parse().unwrap();
    let (secret, other) = (KeySecret::random(), KeySecret::random());
    for id in [JobId::new(&app), JobId::from_key(&secret, &app, "anonymous", "order 7")] {
        assert_eq!(id.partition(), Some(app.partition()));
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
    }
    let keyed = |caller: &str, key: &str| JobId::from_key(&secret, &app, caller, key);
    assert_eq!(keyed("a", "key"), keyed("a", "key"));
    assert_ne!(keyed("a", "bc"), keyed("ab", "c"));
    assert_ne!(
        keyed("a", "key"),
        JobId::from_key(&other, &app, "a", "key"),
        "the id does not depend on the secret"
    );
    assert_eq!(secret.to_hex().parse::<KeySecret>().unwrap(), secret);
    assert!(!format!("{secret:?}").contains(&secret.to_hex()[..8]));
    for bad in ["", "x", &secret.to_hex()[1..], &format!("{}0", secret.to_hex()), &"g".repeat(64)] {
        assert!(bad.parse::<KeySecret>().is_err(), "{bad:?}");
    }
    for bad in
        ["", "x", "0193-", "01938C00-0000-7000-8000-000000000000", "{01938c00-0000-7000-8000-000000000000}"]
    {
        assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
    }
    assert!(WorkerId::new("höst.name \"x\"").as_str().starts_with("hstnamex-"));
    assert_eq!(Micros(1_795_564_800_123_456).rfc3339(), "2026-11-25T00:00:00.123456Z");
}
