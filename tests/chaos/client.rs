//! A client that knows how to go on: it asks another API when one is away, and follows from its cursor.

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

/// How long an answer that is not a stream may take; the API promises one within 15 s.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How long after the last fault everything must have ended: what was lost at the last moment waits for the reapers
/// to trust Redis again (15 s), twice if the next worker was struck as well, and is then made.
pub const SETTLES: Duration = Duration::from_secs(90);

/// One person's client.
pub struct Browser {
    pub fleet: Arc<Fleet>,
    pub dice: Dice,
    http: Client,
}

/// An answer that is not a stream.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Browser {
    pub fn new(fleet: Arc<Fleet>, http: Client, dice: Dice) -> Self {
        Self { fleet, dice, http }
    }

    /// A request to some API that is up; waits for one.
    pub async fn request(&mut self, build: &impl Fn(&Client, &str) -> RequestBuilder) -> RequestBuilder {
        loop {
            if let Some(address) = self.fleet.an_api(self.dice.roll()) {
                return build(&self.http, &address);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends once; `None` if no answer came.
    pub async fn send(&mut self, build: &impl Fn(&Client, &str) -> RequestBuilder) -> Option<Answer> {
        let response = self.request(build).await.timeout(ANSWER).send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// Sends until an API answers that has a store; `None` when the time for it is over.
    pub async fn ask(&mut self, build: impl Fn(&Client, &str) -> RequestBuilder) -> Option<Answer> {
        loop {
            match self.send(&build).await {
                // Away, full or ending: somebody else, or later.
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

    /// Waits a moment, and says whether it is so late that nothing may be missing any more.
    pub async fn too_late(&mut self) -> bool {
        tokio::time::sleep(PAUSE).await;
        over_since(&self.fleet).is_some_and(|since| since.elapsed() > SETTLES)
    }

    /// Follows a job to its end, however often a stream breaks.
    pub async fn follow(&mut self, id: &str) -> Follow {
        let mut follow = Follow { stayed: true, ..Follow::default() };
        while !self.follow_once(id, &mut follow).await {
            if self.too_late().await {
                return follow;
            }
        }
        // Whoever comes back after the end is told nothing twice.
        if self.dice.one_in(2) {
            follow.heard.push(Heard::Again);
            self.follow_once(id, &mut follow).await;
        }
        follow
    }

    /// One stream; `true` once there is nothing more to hear.
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
                // Nothing may come after it; a whole body ends here.
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

/// When the last fault was over.
fn over_since(fleet: &Fleet) -> Option<Instant> {
    *fleet.calm.borrow()
}
