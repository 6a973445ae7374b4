//! Webhooks: the receiver of a run, what it observed, and the rules for it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use glimpse_test_support::{WebhookAnswer, WebhookCall, WebhookReceiver};

use crate::rules::{Breach, Rule};

/// How long a slow receiver takes: less than the timeout of a call.
const SLOW: Duration = Duration::from_secs(2);

/// The webhook of one accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hook {
    /// The job that the client was told.
    pub id: String,
    /// The calls that the receiver got, in the order of their arrival.
    pub calls: Vec<Call>,
}

/// A call as the receiver saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it arrived, since the start of the run.
    pub at: Duration,
    /// The job's id, in the header and in the body.
    pub ids: [String; 2],
    pub body: Vec<u8>,
    pub acknowledged: bool,
}

/// A receiver that refuses the first calls of each path. The path says how many: `/N?…`. Every other one of these is
/// not answered at all, and the answer after them is slow.
pub fn receiver() -> WebhookReceiver {
    WebhookReceiver::start(|number, call| {
        let fails = call.path.trim_start_matches('/').split('?').next().and_then(|fails| fails.parse().ok());
        match number.cmp(&fails.unwrap_or(0)) {
            std::cmp::Ordering::Less if number % 2 == 0 => WebhookAnswer::status(503),
            std::cmp::Ordering::Less => WebhookAnswer::Close,
            std::cmp::Ordering::Equal if number > 0 => WebhookAnswer::Status(200, SLOW),
            _ => WebhookAnswer::OK,
        }
    })
}

/// Adds what the receiver observed to the webhooks that clients know.
pub fn observed(hooks: &mut BTreeMap<String, Hook>, receiver: &WebhookReceiver, begun: Instant) {
    for call in receiver.calls() {
        // A submit without a response may have a webhook that no client knows.
        if let Some(hook) = hooks.get_mut(&call.path) {
            hook.calls.push(seen(call, begun));
        }
    }
}

fn seen(call: WebhookCall, begun: Instant) -> Call {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let ids = [
        call.header("x-fal-webhook-request-id").to_owned(),
        body["request_id"].as_str().unwrap_or_default().to_owned(),
    ];
    let at = call.at.saturating_duration_since(begun);
    Call { at, ids, acknowledged: call.acknowledged, body: call.body }
}

/// Checks one webhook. `disturbed` are the times in which a fault hit an API, a connection to Redis or Redis itself: then
/// the answer to a report may have been lost, or the process with it.
pub fn judge(path: &str, hook: &Hook, disturbed: &[(Duration, Duration)], breaches: &mut Vec<Breach>) {
    let mut breach = |rule, why: String| breaches.push(Breach { rule, of: path.to_owned(), why });
    let shown = || {
        let calls = hook.calls.iter().map(|call| format!("{:?} {}", call.at, call.acknowledged));
        calls.collect::<Vec<_>>().join(", ")
    };
    let Some(first) = hook.calls.iter().position(|call| call.acknowledged) else {
        return breach(
            Rule::HookCalled,
            format!("the webhook of {} was not delivered: {}", hook.id, shown()),
        );
    };
    let since = hook.calls[first].at;
    for (again, call) in hook.calls[first + 1..].iter().enumerate() {
        let lost = disturbed.iter().filter(|(from, to)| *from <= call.at && *to >= since).count();
        if again >= lost {
            breach(
                Rule::HookCalledOnce,
                format!("{} calls after an acknowledgement, {lost} faults: {}", again + 1, shown()),
            );
        }
    }
    let one = &hook.calls[0];
    for call in &hook.calls {
        if call.ids != [&*hook.id; 2] || call.body != one.body {
            breach(
                Rule::HookSame,
                format!("a call has the ids {:?} instead of {}, or another body", call.ids, hook.id),
            );
        }
    }
}
