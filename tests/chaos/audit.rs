//! The audit: checks each job soon after its end, and the whole store at the end of the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use glimpse_test_support::Reply;
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    client::Browser,
    dice::Dice,
    fleet::Fleet,
    story::{Audit, Seen},
};

/// The delay between a job's end and its check. A stale worker has written by then; the watcher sees later writes.
const COOLS: Duration = Duration::from_secs(2);
/// How many jobs are checked at once.
const TOGETHER: usize = 16;

/// The only keys that may have no time to live.
const IMMORTAL: [&str; 9] =
    [":queue:", ":wake:", ":due", ":dead", ":hooks", ":workers", ":secret", ":webhook-seed", ":format"];

/// The auditor.
pub struct Auditor {
    pub fleet: Arc<Fleet>,
    pub http: Client,
    pub dice: Dice,
}

impl Auditor {
    fn browser(&mut self) -> Browser {
        Browser::new(self.fleet.clone(), self.http.clone(), self.dice.fork())
    }

    /// Checks each job soon after its end, because ended jobs expire, until `all` of them are checked or the time is
    /// over. Returns its findings.
    pub async fn watch(mut self, mut all: tokio::sync::watch::Receiver<bool>) -> BTreeMap<String, Audit> {
        let mut audits = BTreeMap::new();
        loop {
            let last = *all.borrow_and_update();
            let cool = |at: Instant| last || at.elapsed() > COOLS;
            let ended = self.fleet.watcher.ended().into_iter().filter(|(_, at)| cool(*at)).map(|(id, _)| id);
            // A job without an end in the watcher's record may have one that the watcher missed.
            let known: BTreeSet<_> =
                if last { self.fleet.watcher.jobs().into_keys().collect() } else { ended.collect() };
            let due: Vec<_> = known.into_iter().filter(|id| !audits.contains_key(id)).collect();
            for some in due.chunks(TOGETHER) {
                let looks: Vec<_> = some.iter().map(|id| look(self.browser(), id)).collect();
                audits.extend(some.iter().cloned().zip(join_all(looks).await));
            }
            if last {
                return audits;
            }
            // An error means that the sender is gone. A second without a message means nothing.
            let _ = tokio::time::timeout(Duration::from_secs(1), all.changed()).await;
        }
    }

    /// The ids on the dead list.
    pub async fn dead(&mut self) -> BTreeSet<String> {
        let answer = self.browser().ask(|http, address| http.get(format!("{address}/v1/dead"))).await;
        let jobs = answer.map(|answer| answer.body["jobs"].clone()).unwrap_or_default();
        let jobs = jobs.as_array().cloned().unwrap_or_default();
        jobs.iter().filter_map(|job| Some(job["id"].as_str()?.to_owned())).collect()
    }

    /// Submits a job of `app` and returns how it ended.
    pub async fn fresh(&mut self, app: &str) -> String {
        let body = json!({ "app": app, "prompt": "pace=5", "seed": 1, "num_inference_steps": 6 });
        let mut browser = self.browser();
        let answer = browser.ask(|http, address| http.post(format!("{address}/v1/jobs")).json(&body)).await;
        let id = answer.map(|answer| answer.body["id"].clone()).unwrap_or_default();
        let Value::String(id) = id else { return "unsubmitted".to_owned() };
        let follow = browser.follow(&id).await;
        follow.events().last().and_then(Seen::status).unwrap_or("without an end").to_owned()
    }

    /// Waits until no work is left, for as long as clients wait. Returns the work that is left then.
    pub async fn left(&mut self) -> Vec<String> {
        loop {
            let left = tokio::task::block_in_place(|| left(&self.fleet));
            if left.is_empty() || self.browser().too_late().await {
                return left;
            }
        }
    }

    /// The keys that have no time to live but should have one.
    pub fn immortal(&self) -> Vec<String> {
        let mortal = |key: &String| !IMMORTAL.iter().any(|kind| key.contains(kind));
        let for_ever = |key: &String| ask(&self.fleet, &["TTL", key]) == Reply::Number(-1);
        tokio::task::block_in_place(|| {
            keys(&self.fleet, "glimpse:*").into_iter().filter(mortal).filter(for_ever).collect()
        })
    }
}

/// Checks one job.
async fn look(mut browser: Browser, id: &str) -> Audit {
    let answer = browser.ask(|http, address| http.get(format!("{address}/v1/jobs/{id}"))).await;
    let status = answer.and_then(|answer| Some(answer.body["status"].as_str()?.to_owned()));
    let log = loop {
        match tokio::task::block_in_place(|| log(&browser.fleet, id)) {
            Some(log) => break log,
            // Redis is unavailable.
            None if browser.too_late().await => break Vec::new(),
            None => {}
        }
    };
    let late = browser.follow(id).await.events().cloned().collect();
    Audit { status, log, late }
}

/// A job's log; `None` if Redis does not respond.
fn log(fleet: &Fleet, id: &str) -> Option<Vec<Seen>> {
    // The last byte of an id is its partition.
    let partition = u8::from_str_radix(id.get(id.len().checked_sub(2)?..)?, 16).ok()?;
    let key = format!("glimpse:{{{partition}}}:log:{id}");
    let reply = fleet.redis.read().unwrap().try_ask(&["XRANGE", &key, "-", "+"]).ok()?;
    let Reply::List(entries) = reply else { return None };
    let seen = |entry: &Reply| {
        let Reply::List(entry) = entry else { return None };
        let fields = entry.get(1)?.texts();
        let (seq, json) = fields.get(1)?.split_once(' ')?;
        Seen::read(seq, json)
    };
    Some(entries.iter().filter_map(seen).collect())
}

fn left(fleet: &Fleet) -> Vec<String> {
    let zsets = ["glimpse:*:due", "glimpse:*:queue:*", "glimpse:*:hooks"];
    let zsets = zsets.into_iter().flat_map(|pattern| keys(fleet, pattern));
    zsets
        .flat_map(|key| {
            let members = ask(fleet, &["ZRANGE", &key, "0", "-1"]);
            members.texts().iter().map(|member| format!("{key}: {member}")).collect::<Vec<_>>()
        })
        .collect()
}

fn keys(fleet: &Fleet, pattern: &str) -> Vec<String> {
    ask(fleet, &["KEYS", pattern]).texts().into_iter().map(str::to_owned).collect()
}

fn ask(fleet: &Fleet, words: &[&str]) -> Reply {
    fleet.redis.read().unwrap().ask(words)
}
