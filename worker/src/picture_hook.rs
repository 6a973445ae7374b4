//! The hook after the picture: an endpoint of the operator's sees each finished picture before it is kept or shown.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::builder::FalseyValueParser;
use futures::future::try_join_all;
use glimpse_shared::{
    job::Job,
    retry::Waits,
    telemetry,
    verdict::{Endpoint, EndpointUrl, NoVerdict, OnFailure, Verdict},
};
use serde::Serialize;
use tokio::time::Instant;
use tracing::Instrument;

use crate::encoded::Encoded;

/// The first and the longest wait before a question is repeated.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The flags of the hook.
#[derive(Debug, Clone, clap::Args)]
pub struct PictureHookFlags {
    /// An address of yours that decides about each finished picture before it is kept or shown: it gets a POST with
    /// `job_id`, `app`, `tenant`, `index` and `image` as JSON, and answers `{"allowed": true}`, or false and a `reason`.
    /// Then no previews are sent.
    #[arg(long, env = "GLIMPSE_PICTURE_HOOK_URL", value_name = "URL")]
    pub picture_hook_url: Option<EndpointUrl>,

    /// Seconds that --picture-hook-url has for its answer about a picture, 1 to 60. It is asked again until then.
    #[arg(long, env = "GLIMPSE_PICTURE_HOOK_TIMEOUT", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=60))]
    pub picture_hook_timeout: u64,

    /// What happens to a picture when --picture-hook-url gives no answer: refuse fails the attempt, allow shows it.
    #[arg(long, env = "GLIMPSE_PICTURE_HOOK_FAILURE", value_enum, default_value = "refuse")]
    pub picture_hook_failure: OnFailure,

    /// Sends previews and partial pictures although --picture-hook-url has not seen them.
    #[arg(long, env = "GLIMPSE_PICTURE_HOOK_PREVIEWS", value_parser = FalseyValueParser::new())]
    pub picture_hook_previews: bool,
}

impl PictureHookFlags {
    /// The hook; `None` without an address.
    pub fn open(&self) -> Option<PictureHook> {
        let url = self.picture_hook_url.clone()?;
        Some(PictureHook(Arc::new(Hook {
            endpoint: Endpoint::new(url),
            timeout: Duration::from_secs(self.picture_hook_timeout),
            on_failure: self.picture_hook_failure,
            shows_previews: self.picture_hook_previews,
        })))
    }
}

/// The operator's endpoint. Clones share it.
#[derive(Clone)]
pub struct PictureHook(Arc<Hook>);

struct Hook {
    endpoint: Endpoint,
    timeout: Duration,
    on_failure: OnFailure,
    shows_previews: bool,
}

/// What the endpoint gets.
#[derive(Serialize)]
struct Question<'a> {
    job_id: String,
    app: &'a str,
    tenant: &'a str,
    /// The picture's place among those of its job, from 0.
    index: usize,
    image: Shown<'a>,
}

#[derive(Serialize)]
struct Shown<'a> {
    content_type: &'a str,
    width: u32,
    height: u32,
    /// The file in base64.
    data: String,
}

/// The endpoint gave no answer about a picture, and the operator wants nothing unchecked.
#[derive(Debug, thiserror::Error)]
#[error("the picture was not checked: {0}")]
pub struct Unchecked(NoVerdict);

impl PictureHook {
    /// Whether pictures are shown while they form.
    pub fn shows_previews(&self) -> bool {
        self.0.shows_previews
    }

    /// Asks about the pictures of a job, all at once. The verdict is that about the first picture that is refused.
    ///
    /// # Errors
    /// If there is no answer about one of them, and the operator wants nothing unchecked.
    pub async fn ask(&self, job: &Job, pictures: &[Encoded]) -> Result<Verdict, Unchecked> {
        let questions =
            pictures.iter().enumerate().map(|(index, picture)| self.ask_about(job, index, picture));
        let verdicts = try_join_all(questions).await?;
        Ok(verdicts.into_iter().find(|verdict| !verdict.allowed).unwrap_or(Verdict::ALLOWED))
    }

    async fn ask_about(&self, job: &Job, index: usize, picture: &Encoded) -> Result<Verdict, Unchecked> {
        let image = Shown {
            content_type: picture.format.content_type(),
            width: picture.width,
            height: picture.height,
            data: STANDARD.encode(&picture.bytes),
        };
        let (app, tenant) = (job.app.as_str(), job.tenant.as_str());
        let question = Question { job_id: job.id.to_string(), app, tenant, index, image };
        match (self.answer(&question).await, self.0.on_failure) {
            (Ok(verdict), _) => Ok(verdict),
            (Err(error), OnFailure::Allow) => {
                tracing::warn!(job = %job.id, %error, "a picture was not checked (--picture-hook-failure allow)");
                Ok(Verdict::ALLOWED)
            }
            (Err(error), OnFailure::Refuse) => Err(Unchecked(error)),
        }
    }

    /// Asks until there is an answer or the time is over.
    async fn answer(&self, question: &Question<'_>) -> Result<Verdict, NoVerdict> {
        let end = Instant::now() + self.0.timeout;
        let mut waits = Waits::new(WAITS.0, WAITS.1);
        loop {
            let asking = self.0.endpoint.ask(question, end - Instant::now());
            let error = match asking.instrument(telemetry::call("picture hook", self.0.endpoint.host())).await
            {
                Ok(verdict) => return Ok(verdict),
                Err(error) => error,
            };
            let again = Instant::now() + waits.next();
            if again >= end {
                return Err(error);
            }
            tracing::debug!(%error, "the picture hook gave no answer; asking again");
            tokio::time::sleep_until(again).await;
        }
    }
}
