//! Fuzz tests: any reply of Redis is read as a value or gives an error. The data may come from other versions, other
//! programs or an operator.

use glimpse_test_support::fuzz::{self, Damage, damages};
use proptest::{collection::vec, prelude::*, sample::Index};
use redis::{ConnectionAddr, Value};

use super::{
    dead, deliveries,
    inbox::{FollowerInbox, Listener, Message, Told, cancelled, finished_early},
    list, log, queue, reap, roster,
    scripts::{ScriptReply, decode, unexpected},
    shape::REPLY_WORDS,
    slots::parse_map,
};
use crate::{error::StoreError, id::App};

/// A text of a reply, or any other text.
fn text() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select([&REPLY_WORDS[..], &TEXTS[..]].concat());
    let words = word().prop_map(|word| word.as_bytes().to_vec());
    let number = any::<i64>().prop_map(|number| number.to_string().into_bytes());
    let two = (word(), word());
    let two = two.prop_map(|(one, other)| format!("{one} {other}").into_bytes());
    prop_oneof![4 => words, 2 => two, 1 => number, 1 => vec(any::<u8>(), 0..30)].prop_map(Value::BulkString)
}

const ID: &str = "01938c00-0000-7000-8000-000000000007";
const QUEUED_FRAME: &str = r#"7 {"type":"queued","position":1}"#;
const FAILED_FRAME: &str = r#"8 {"type":"failed","code":"internal","message":"x"}"#;

/// Texts of replies besides [`REPLY_WORDS`].
const TEXTS: [&str; 26] = [
    "queued",
    "running",
    "completed",
    "failed",
    "",
    "0",
    "1",
    "-1",
    "1e300",
    "nan",
    "18446744073709551615",
    "18446744073709551616",
    "{}",
    "null",
    "glimpse/demo",
    "gpu-1",
    ID,
    "10.0.0.1",
    QUEUED_FRAME,
    FAILED_FRAME,
    r#"18446744073709551615 {"type":"preview"}"#,
    "01938c00-0000-7000-8000-000000000007 glimpse/demo",
    "01938c00-0000-7000-8000-000000000007 glimpse/demo finish 4",
    WORKER,
    JOB,
    WEBHOOK,
];

/// Any reply.
fn answer() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => text(),
        1 => Just(Value::Nil),
        1 => Just(Value::Okay),
        1 => any::<bool>().prop_map(Value::Boolean),
        2 => any::<i64>().prop_map(Value::Int),
        1 => any::<f64>().prop_map(Value::Double),
        1 => ".{0,9}".prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(3, 24, 8, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..12).prop_map(Value::Array),
            1 => vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

/// Valid replies.
fn right() -> Vec<Value> {
    fn texts(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let list = Value::Array;
    let (id, frame) = (ID, FAILED_FRAME);
    let node = list(vec![text("10.0.0.1"), Value::Int(6379)]);
    vec![
        texts(&["submitted", "3"]),
        texts(&["full", "3", "1500"]),
        texts(&["claimed", JOB, "1", "2", "4", "a checkpoint"]),
        texts(&["done", "failed"]),
        texts(&["given_back", "1700000000000000"]),
        texts(&["deliver", id, "1", WEBHOOK]),
        texts(&[
            "running",
            "1",
            "gpu-1",
            "4",
            "7",
            "1700000000000000",
            "1700000000000001",
            "",
            "glimpse/demo",
            "0",
            "20",
            "",
            "4096 scheduler:DDIMScheduler",
            "a heart",
            "",
            frame,
            "anonymous",
            "4",
        ]),
        list(vec![text("running"), text("8"), text(frame), texts(&[QUEUED_FRAME, frame])]),
        list(vec![texts(&[id, "glimpse/demo", "3", "1700000000000000", frame])]),
        list(vec![texts(&[id, "glimpse/demo", "queued", "1700000000000000"])]),
        texts(&["3", "1500", "2500"]),
        texts(&[&format!("1700000000000000 {WORKER}")]),
        texts(&[id, "1700000000000000", "glimpse/demo"]),
        list(vec![list(vec![Value::Int(0), Value::Int(16_383), node])]),
    ]
}

const WEBHOOK: &str = r#"{"url":"https://example.com/hook","form":"fal","tenant":"anonymous"}"#;
const WORKER: &str = r#"{"id":"gpu-1","app":"glimpse/demo","native_width":64,"native_height":64,"max_pixels":4096,"schedulers":[],"device":"cpu","version":"0","state":"idle"}"#;
const JOB: &str = r#"{"id":"01938c00-0000-7000-8000-000000000007","app":"glimpse/demo","tenant":"anonymous","class":"normal","spec":{"prompt":"x","negative_prompt":"","num_inference_steps":20,"width":64,"height":64,"guidance_scale":5.0,"seed":7,"num_images":1,"preview_every":5,"preview_source":"latents","output_format":"jpeg"},"digest":"0","start_timeout":{"secs":1,"nanos":0},"run_timeout":{"secs":1,"nanos":0}}"#;

/// A change of a valid reply.
#[derive(Debug, Clone)]
enum Mutation {
    Put(Index, Value),
    Within(Index, Vec<Damage>),
    Drop(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        2 => (at(), answer()).prop_map(|(at, value)| Mutation::Put(at, value)),
        2 => (at(), damages()).prop_map(|(at, damages)| Mutation::Within(at, damages)),
        1 => at().prop_map(Mutation::Drop),
    ]
}

impl Mutation {
    /// Changes an entry of the array, or of a nested array.
    fn apply(&self, answer: &mut Value) {
        let Value::Array(entries) = answer else { return };
        if entries.is_empty() {
            return;
        }
        let (Self::Put(at, _) | Self::Within(at, _) | Self::Drop(at)) = self;
        let at = at.index(entries.len());
        match (self, &mut entries[at]) {
            (_, inner @ Value::Array(_)) => self.apply(inner),
            (Self::Put(_, value), slot) => *slot = value.clone(),
            (Self::Within(_, damages), Value::BulkString(bytes)) => {
                damages.iter().for_each(|damage| damage.apply(bytes));
            }
            (Self::Within(..), _) => {}
            (Self::Drop(_), _) => drop(entries.remove(at)),
        }
    }
}

/// Reads a reply as the reply of each script and command.
fn read(answer: &Value) -> Result<(), TestCaseError> {
    let id = ID.parse().unwrap();
    let all = [
        decode(answer.clone()).map(drop),
        decode(answer.clone()).and_then(deliveries::delivery).map(drop),
        log::app(answer.clone()).map(drop),
        log::job(answer.clone()).map(drop),
        log::state(id, answer.clone()).map(drop),
        log::read(answer.clone()).map(drop),
        dead::list(answer.clone()).map(drop),
        list::jobs(answer.clone()).map(drop),
        list::ranks(answer.clone()).map(drop),
        list::line(answer.clone()).map(drop),
        roster::seen(answer.clone()).map(drop),
        reap::overdue(answer.clone()).map(drop),
        queue::clock(answer.clone()).map(drop),
    ];
    let asked = ConnectionAddr::Tcp("host".to_owned(), 6379);
    parse_map(answer.clone(), &asked);
    let skipped = dead::list(answer.clone()).map_or_else(|_| Vec::new(), |(_, skipped)| skipped);
    let workers = roster::seen(answer.clone()).map_or_else(|_| Vec::new(), |(_, skipped)| skipped);
    for error in all.into_iter().filter_map(Result::err).chain(skipped).chain(workers) {
        prop_assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        prop_assert!(!error.to_string().contains(PROMPT), "{error}");
    }
    Ok(())
}

/// A prompt, which no error may contain.
const PROMPT: &str = "a red heart";

/// Adds the prompt to every text of a reply.
fn with_prompt(answer: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(with_prompt).collect();
    match answer {
        Value::BulkString(mut bytes) => {
            bytes.extend(PROMPT.bytes());
            Value::BulkString(bytes)
        }
        Value::SimpleString(text) => Value::SimpleString(text + PROMPT),
        Value::Array(values) => Value::Array(all(values)),
        other => other,
    }
}

proptest! {
    #![proptest_config(fuzz::cases(2000))]

    #[test]
    fn any_reply_is_read_or_corrupt(answer in answer()) {
        read(&answer)?;
    }

    #[test]
    fn an_error_does_not_repeat_the_reply(answer in answer()) {
        read(&with_prompt(answer))?;
    }

    #[test]
    fn a_changed_reply_is_read_or_corrupt(which in any::<Index>(), mutations in vec(mutation(), 0..4)) {
        let all = right();
        let mut answer = all[which.index(all.len())].clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut answer));
        read(&answer)?;
    }

    #[test]
    fn any_message_can_be_received(message in prop_oneof![text(), answer()]) {
        let Value::BulkString(payload) = message else { return Ok(()) };
        let message = Message::new(payload.into());
        let app: App = "glimpse/demo".parse().unwrap();
        let inbox = FollowerInbox::default();
        let (cancellations, finishes) = (Told::new(app.clone(), cancelled), Told::new(app, finished_early));
        for _ in 0..3 {
            inbox.receive(&message);
            cancellations.receive(&message);
            finishes.receive(&message);
        }
    }
}

#[test]
fn an_error_describes_the_shape_of_the_reply() {
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let job = JOB.replace(r#""prompt":"x""#, &format!(r#""prompt":"{PROMPT}""#));
    let numbers = ["1", "2", "3", "4", "5"].map(text);
    let misplaced = Value::Array([text("claimed"), text(&job)].into_iter().chain(numbers).collect());
    let why = decode(misplaced).unwrap_err().to_string();
    assert!(why.contains(r#"an array of length 7 that begins with "claimed""#), "{why}");
    let seq = crate::id::Seq(2);
    let claimed = ScriptReply::Claimed { job, attempt: 1, seq, finish_early: None, checkpoint: None };
    let other_scripts = unexpected::<()>(claimed).unwrap_err().to_string();
    // A wrong type in JSON: serde's own error would repeat the text.
    let wrong_type = JOB.replace(r#""width":64"#, &format!(r#""width":"{PROMPT}""#));
    let wrong_json = log::job(text(&wrong_type)).unwrap_err().to_string();
    let wrong_number = reap::overdue(Value::Array(vec![text(PROMPT), text(PROMPT)])).unwrap_err().to_string();
    for why in [why, other_scripts, wrong_json, wrong_number] {
        assert!(!why.contains(PROMPT), "{why}");
    }
}

#[test]
fn valid_replies_are_read() {
    let [submitted, full, claimed, done, reaped, delivery, state, log, dead, jobs, line, workers, due, slots] =
        <[Value; 14]>::try_from(right()).unwrap();
    for reply in [submitted, full, claimed, done, reaped] {
        assert!(decode(reply).is_ok());
    }
    assert!(deliveries::delivery(decode(delivery).unwrap()).unwrap().is_some());
    assert!(log::job(Value::BulkString(JOB.into())).unwrap().is_some());
    let id = ID.parse().unwrap();
    assert!(log::state(id, state).unwrap().unwrap().1.is_some());
    assert_eq!(log::read(log).unwrap().frames.len(), 2);
    assert_eq!(list::jobs(jobs).unwrap().len(), 1);
    assert_eq!(list::line(line.clone()).unwrap().jobs, 3);
    assert_eq!(list::ranks(line).unwrap(), [Some(3), Some(1500), Some(2500)]);
    assert_eq!((dead::list(dead).unwrap().0.len(), roster::seen(workers).unwrap().0.len()), (1, 1));
    assert_eq!(reap::overdue(due).unwrap().jobs.len(), 1);
    assert_eq!(parse_map(slots, &ConnectionAddr::Tcp("host".to_owned(), 6379)).len(), 1);
}

#[test]
fn a_job_with_the_longest_timeouts_has_a_time_to_live() {
    let ages = JOB.replace(r#""secs":1"#, &format!(r#""secs":{}"#, u64::MAX));
    let job: crate::job::Job = serde_json::from_str(&ages).unwrap();
    assert!(queue::ttl(&job) > job.run_timeout.as_millis());
}
