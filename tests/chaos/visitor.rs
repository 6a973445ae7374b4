//! The clients: what each kind does with a job, and what it observed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    client::Browser,
    fleet::Fleet,
    plan::{Conduct, Visit},
    release::previous,
    sse::{Block, Body},
    story::{Fate, Follow},
};

/// The observations of one client.
#[derive(Debug, Default)]
pub struct Testimony {
    pub jobs: Vec<Job>,
    /// For its submits: each key and the ids that were returned for it.
    pub keys: Vec<(String, BTreeSet<String>)>,
    /// The accepted webhooks: path at the receiver, and job.
    pub hooks: Vec<(String, String)>,
    /// The same for retries of a dead job.
    pub retried: Vec<(String, BTreeSet<String>)>,
    /// Responses that no client should get.
    pub complaints: Vec<String>,
    /// Submits without a response.
    pub unanswered: usize,
}

/// A job as its client knows it.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub fate: Fate,
    pub request: Option<String>,
    pub follow: Option<Follow>,
    pub cancel_answers: Vec<String>,
    pub finish_answers: Vec<u16>,
}

pub async fn visit(fleet: Arc<Fleet>, http: Client, n: usize, visit: Visit) -> Testimony {
    let Visit { conduct, fate, app, body, dice, .. } = visit;
    let browser = Browser::new(fleet, http, dice);
    let request = format!("{app} {body}");
    let mut visitor = Visitor { browser, n, fate, app, body, request, testimony: Testimony::default() };
    match conduct {
        Conduct::Follow => visitor.follow().await,
        Conduct::Repeat => visitor.repeat().await,
        Conduct::Detach => visitor.detach().await,
        Conduct::Vanish { after } => visitor.vanish(after).await,
        Conduct::Cancel { after } => visitor.cancel(after).await,
        Conduct::FinishEarly { after } => visitor.finish_early(after).await,
        Conduct::RetryDead => visitor.retry_dead().await,
        Conduct::Hook { fails } => visitor.hook(fails).await,
    }
    visitor.testimony
}

struct Visitor {
    browser: Browser,
    n: usize,
    fate: Fate,
    app: &'static str,
    body: Value,
    request: String,
    testimony: Testimony,
}

impl Visitor {
    fn job(&mut self, id: String, follow: Option<Follow>, cancel_answers: Vec<String>) {
        let (fate, request) = (self.fate, Some(self.request.clone()));
        let finish_answers = Vec::new();
        self.testimony.jobs.push(Job { id, fate, request, follow, cancel_answers, finish_answers });
    }

    async fn follow(&mut self) {
        // Without a key, a submit whose response is lost may have created a job that no client knows. It must end too.
        let build = submission(self.app, &self.body, None);
        let id = loop {
            let answer = self.browser.send(&build).await;
            match answer.filter(|answer| answer.status == 202) {
                Some(answer) => break id_of(&answer.body),
                None => self.testimony.unanswered += 1,
            }
            if self.browser.too_late().await {
                return self.testimony.complaints.push("no API takes a job".to_owned());
            }
        };
        let follow = self.browser.follow(&id).await;
        self.job(id, Some(follow), Vec::new());
    }

    async fn hook(&mut self, fails: u64) {
        for attempt in 0.. {
            // A path of its own for each submit: one without a response may have been accepted.
            let path = format!("/{fails}?client={}&submit={attempt}", self.n);
            let (app, body, url) = (self.app, self.body.clone(), self.browser.fleet.receiver.url(&path));
            let hook: String = url.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let build = move |http: &Client, address: &str| {
                http.post(format!("{address}/queue/{app}?fal_webhook={hook}")).json(&body)
            };
            let answer = self.browser.send(&build).await;
            match answer.filter(|answer| answer.status == 200) {
                Some(answer) => {
                    let id = answer.body["request_id"].as_str().unwrap_or_default().to_owned();
                    self.testimony.hooks.push((path, id.clone()));
                    return self.job(id, None, Vec::new());
                }
                None => self.testimony.unanswered += 1,
            }
            if self.browser.too_late().await {
                return self.testimony.complaints.push("no API takes a request with a webhook".to_owned());
            }
        }
    }

    async fn repeat(&mut self) {
        let Some(id) = self.submit().await else { return };
        let follow = self.browser.follow(&id).await;
        self.job(id, Some(follow), Vec::new());
    }

    /// Submits with a key: disconnects from the first request before or after its response, repeats it until there is a
    /// response, and once more to check that it is the same job.
    async fn submit(&mut self) -> Option<String> {
        let key = format!("chaos-{}-{}", self.n, self.browser.dice.roll());
        let build = submission(self.app, &self.body, Some(&key));
        let wait = Duration::from_millis(self.browser.dice.among(0..30));
        let first = tokio::time::timeout(wait, self.browser.send(&build)).await.ok().flatten();
        let mut ids = BTreeSet::new();
        ids.extend(first.filter(|answer| answer.status == 202).map(|answer| id_of(&answer.body)));
        for _ in 0..2 {
            let answer = self.browser.ask(&build).await;
            match answer.filter(|answer| answer.status.is_success()) {
                Some(answer) => ids.extend([id_of(&answer.body)]),
                None => self.testimony.complaints.push("a submit with a key is refused".to_owned()),
            }
        }
        let id = ids.first().cloned();
        self.testimony.keys.push((key, ids));
        id
    }

    /// Opens fal's stream; returns its job's id if there was a response.
    async fn fal(&mut self, on_disconnect: &'static str) -> Option<(String, Body)> {
        let (app, body) = (self.app, self.body.clone());
        let stream = move |http: &Client, address: &str| {
            let request = http.post(format!("{address}/{app}/stream"));
            request.header("X-Glimpse-On-Disconnect", on_disconnect).json(&body)
        };
        let response = self.browser.request(&stream).await.send().await.ok();
        let response = response.filter(|response| response.status().is_success());
        let Some(response) = response else {
            self.testimony.unanswered += 1;
            return None;
        };
        let id = response.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
        Some((id, Body::of(response)))
    }

    async fn detach(&mut self) {
        // fal's wire has no keys: a request that breaks before its response is lost for its client.
        let Some((id, mut body)) = self.fal("detach").await else { return };
        let mut last = Value::Null;
        while let Some(Block::Data(data)) = body.next().await {
            last = serde_json::from_str(&data).unwrap_or_default();
        }
        // Only the last event has the seed. A client that has it need not ask again, but may.
        let follow = match last["seed"].is_null() || self.browser.dice.one_in(2) {
            true => Some(self.browser.follow(&id).await),
            false => None,
        };
        self.job(id, follow, Vec::new());
    }

    async fn vanish(&mut self, after: u64) {
        if after == 0 {
            // Before the response: no client learns the job's id.
            let wait = Duration::from_millis(self.browser.dice.among(0..60));
            return drop(tokio::time::timeout(wait, self.fal("cancel")).await);
        }
        let Some((id, mut body)) = self.fal("cancel").await else { return };
        for _ in 0..after {
            if body.next().await.is_none() {
                break;
            }
        }
        self.job(id, None, Vec::new());
    }

    async fn cancel(&mut self, after: Duration) {
        let Some(id) = self.submit().await else { return };
        let mut other = Browser::new(self.browser.fleet.clone(), Client::new(), self.browser.dice.fork());
        let followed = id.clone();
        let following = tokio::spawn(async move { other.follow(&followed).await });
        tokio::time::sleep(after).await;
        let mut cancel_answers = Vec::new();
        for _ in 0..1 + self.browser.dice.among(0..2) {
            let delete = |http: &Client, address: &str| http.delete(format!("{address}/v1/jobs/{id}"));
            match self.browser.ask(delete).await {
                Some(answer) if answer.status == 200 => {
                    cancel_answers.push(answer.body["status"].as_str().unwrap_or_default().to_owned());
                }
                other => self.testimony.complaints.push(format!("a cancel of {id} is answered {other:?}")),
            }
        }
        let follow = following.await.unwrap();
        self.job(id, Some(follow), cancel_answers);
    }

    /// Asks until the job has made a step or has ended.
    async fn finish_early(&mut self, after: Duration) {
        let Some(id) = self.submit().await else { return };
        let mut other = Browser::new(self.browser.fleet.clone(), Client::new(), self.browser.dice.fork());
        let followed = id.clone();
        let following = tokio::spawn(async move { other.follow(&followed).await });
        tokio::time::sleep(after).await;
        let mut finish_answers = Vec::new();
        while !finish_answers.iter().any(|status| [200, 202].contains(status)) {
            let finish = |http: &Client, address: &str| http.post(format!("{address}/v1/jobs/{id}/finish"));
            match self.browser.ask(finish).await.map(|answer| answer.status.as_u16()) {
                Some(status @ (200 | 202 | 409)) => finish_answers.push(status),
                // An API of a release that did not have this route. Another one is asked.
                Some(404) if previous().is_some() => tokio::time::sleep(Duration::from_millis(50)).await,
                other => {
                    self.testimony.complaints.push(format!("a finish of {id} is answered {other:?}"));
                    break;
                }
            }
            if self.browser.too_late().await {
                break;
            }
        }
        let follow = following.await.unwrap();
        self.job(id, Some(follow), Vec::new());
        if let Some(job) = self.testimony.jobs.last_mut() {
            job.finish_answers = finish_answers;
        }
    }

    async fn retry_dead(&mut self) {
        let Some(id) = self.submit().await else { return };
        let follow = self.browser.follow(&id).await;
        self.job(id.clone(), Some(follow), Vec::new());
        if self.browser.dice.one_in(2) {
            return;
        }
        // Twice: the second request finds the job of the first.
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let retry = |http: &Client, address: &str| http.post(format!("{address}/v1/dead/{id}/retry"));
            match self.browser.ask(retry).await {
                Some(answer) if answer.status == 202 => ids.extend([id_of(&answer.body)]),
                other => self.testimony.complaints.push(format!("a retry of {id} is answered {other:?}")),
            }
        }
        for new in &ids {
            let follow = self.browser.follow(new).await;
            self.job(new.clone(), Some(follow), Vec::new());
        }
        self.testimony.retried.push((id, ids));
    }
}

fn submission(
    app: &str,
    body: &Value,
    key: Option<&str>,
) -> impl Fn(&Client, &str) -> RequestBuilder + use<> {
    let (mut body, key) = (body.clone(), key.map(str::to_owned));
    body["app"] = json!(app);
    move |http, address| {
        let request = http.post(format!("{address}/v1/jobs")).json(&body);
        match &key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    }
}

fn id_of(body: &Value) -> String {
    body["id"].as_str().unwrap_or_default().to_owned()
}
