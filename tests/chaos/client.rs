//! A client that recovers: it asks another API when one is unavailable, and resumes from its cursor.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    dice::Dice,
    fleet::Fleet,
    sse::{Block, Body},
    story::{Follow, Heard},
};

/// How long a response that is not a stream may take; the API promises one within 15 s.
const ANSWER: Duration = Duration::from_secs(20);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// The timeout for all jobs after the last fault. A job that is lost at the last moment waits until the reapers have
/// had 15 s of answers from Redis (twice, if the next worker fails too), and then runs.
pub const SETTLES: Duration = Duration::from_secs(90);

/// The client of one user.
pub struct Browser {
    pub fleet: Arc<Fleet>,
    pub dice: Dice,
    http: Client,
}

/// A response that is not a stream.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Browser {
    pub fn new(fleet: Arc<Fleet>, http: Client, dice: Dice) -> Self {
        Self { fleet, dice, http }
    }

    /// Sends a request to an API that is up; waits for one.
    pub async fn request(&mut self, build: &impl Fn(&Client, &str) -> RequestBuilder) -> RequestBuilder {
        loop {
            if let Some(address) = self.fleet.an_api(self.dice.roll()) {
                return build(&self.http, &address);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends once; `None` if there was no response.
    pub async fn send(&mut self, build: &impl Fn(&Client, &str) -> RequestBuilder) -> Option<Answer> {
        let response = self.request(build).await.timeout(ANSWER).send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// Sends until an API that reaches its store responds; `None` when the time is over.
    pub async fn ask(&mut self, build: impl Fn(&Client, &str) -> RequestBuilder) -> Option<Answer> {
        loop {
            match self.send(&build).await {
                // Unavailable, full or shutting down: ask another API, or later.
                Some(answer) if !answer.status.is_server_error() && answer.status != 429 => {
                    return Some(answer);
                }
                _ => {}
            }
            if self.too_late().await {
                return None;
            }
        }
    }

    /// Waits a moment. Returns whether the time is over in which a job may still be missing.
    pub async fn too_late(&mut self) -> bool {
        tokio::time::sleep(PAUSE).await;
        over_since(&self.fleet).is_some_and(|since| since.elapsed() > SETTLES)
    }

    /// Follows a job to its end, however often the stream breaks.
    pub async fn follow(&mut self, id: &str) -> Follow {
        let mut follow = Follow { stayed: true, ..Follow::default() };
        while !self.follow_once(id, &mut follow).await {
            if self.too_late().await {
                return follow;
            }
        }
        // A client that comes back after the end must not receive anything twice.
        if self.dice.one_in(2) {
            follow.heard.push(Heard::Again);
            self.follow_once(id, &mut follow).await;
        }
        follow
    }

    /// Reads one stream; `true` at the end of the job.
    async fn follow_once(&mut self, id: &str, follow: &mut Follow) -> bool {
        let cursor = follow.events().last().map(|seen| seen.seq);
        let build = |http: &Client, address: &str| {
            let request = http.get(format!("{address}/v1/jobs/{id}/events"));
            match cursor {
                Some(cursor) => request.header("Last-Event-ID", cursor.to_string()),
                None => request,
            }
        };
        let request = self.request(&build).await;
        let Ok(Ok(response)) = tokio::time::timeout(ANSWER, request.send()).await else { return false };
        if response.status() == StatusCode::NO_CONTENT {
            return true;
        }
        if !response.status().is_success() {
            return false;
        }
        let mut body = Body::of(response);
        while let Some(block) = body.next().await {
            let Block::Heard(heard) = block else { continue };
            let ends = matches!(&heard, Heard::Event(seen) if seen.is_terminal());
            follow.heard.push(heard);
            if ends {
                // Nothing may follow; a complete body ends here.
                while let Some(Block::Heard(more)) = body.next().await {
                    follow.heard.push(more);
                }
                return true;
            }
        }
        follow.heard.push(Heard::Again);
        false
    }
}

/// The time at which the last fault was over.
fn over_since(fleet: &Fleet) -> Option<Instant> {
    *fleet.calm.borrow()
}
