//! Follows a job of a server to its end.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures::StreamExt;
use glimpse_shared::{
    event::{Event, Image, Warning},
    retry::Waits,
};
use reqwest::StatusCode;

use super::{failure::Failure, made::Made, remote::Server, view::JobView};

/// The number of times that a broken stream is resumed, and the first and the longest wait before that.
const RESUMES: u32 = 5;
const RESUME_WAITS: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(8));

impl Server {
    /// Follows the job to its end and resumes a broken stream.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn follow(&self, job: &str, view: &JobView<'_>) -> Result<Made, Failure> {
        let mut cursor: Option<String> = None;
        let mut broken = 0;
        let mut waits = Waits::new(RESUME_WAITS.0, RESUME_WAITS.1);
        loop {
            let mut get = self.events(job);
            if let Some(id) = &cursor {
                get = get.header("Last-Event-ID", id);
            }
            let cause = match self.send(get).await {
                Ok(response) if response.status().is_success() => {
                    let mut events = response.bytes_stream().eventsource();
                    let mut cause = "the stream ended early".to_owned();
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => {
                                broken = 0;
                                waits.reset();
                                let parsed =
                                    serde_json::from_str(&event.data).map_err(Failure::unforeseen)?;
                                if let Some(completed) = take(parsed, view)? {
                                    return self.made(job, completed).await;
                                }
                                // What has no id is not in the log.
                                cursor = Some(event.id).filter(|id| !id.is_empty()).or(cursor);
                            }
                            Err(error) => cause = error.to_string(),
                        }
                    }
                    cause
                }
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    "it has no place for another stream".to_owned()
                }
                Ok(response) => match self.json(response).await {
                    Err(Failure::Unreachable { cause, .. }) => cause,
                    Err(other) => return Err(other),
                    Ok(_) => return Err(Failure::unforeseen("the server sent no events")),
                },
                Err(Failure::Unreachable { cause, .. }) => cause,
                Err(other) => return Err(other),
            };
            broken += 1;
            if broken > RESUMES {
                return Err(self.lost(cause));
            }
            tokio::time::sleep(waits.next()).await;
        }
    }

    /// The pictures of a completed job. Those that are not in the event are asked for by the job's id: the server may
    /// have told another address for them than the one that this client reaches it at.
    async fn made(&self, job: &str, completed: Completed) -> Result<Made, Failure> {
        let Completed { images, seed, seeds, warnings } = completed;
        let content_type = images.first().map(|image| image.content_type.clone()).unwrap_or_default();
        let mut encoded = Vec::with_capacity(images.len());
        for (index, image) in images.iter().enumerate() {
            encoded.push(match image.decode() {
                Some(picture) => picture,
                None => self.picture(job, index).await?,
            });
        }
        Ok(Made { encoded, content_type, seed, seeds, warnings })
    }

    async fn picture(&self, job: &str, index: usize) -> Result<Vec<u8>, Failure> {
        let mut waits = Waits::new(RESUME_WAITS.0, RESUME_WAITS.1);
        let mut broken = 0;
        loop {
            let cause = match self.send(self.image(job, index)).await {
                Ok(response) if response.status().is_success() => match response.bytes().await {
                    Ok(picture) => return Ok(picture.into()),
                    Err(error) => self.unreachable(&error),
                },
                Ok(response) => match self.json(response).await {
                    Ok(_) => return Err(Failure::unforeseen("the server sent no picture")),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            broken += 1;
            if broken > RESUMES || !matches!(cause, Failure::Unreachable { .. }) {
                return Err(cause);
            }
            tokio::time::sleep(waits.next()).await;
        }
    }
}

/// What a completed job says.
struct Completed {
    images: Vec<Image>,
    seed: u64,
    seeds: Vec<u64>,
    warnings: Vec<Warning>,
}

/// Shows an event; returns what a completed job says.
fn take(event: Event, view: &JobView<'_>) -> Result<Option<Completed>, Failure> {
    match event {
        Event::Queued { position } => view.queued(position),
        Event::Started { worker, .. } => view.started(worker.as_str()),
        Event::Preview { step, steps, image, .. } | Event::Partial { step, steps, image, .. } => {
            view.at(step + 1, steps);
            view.preview(step, &decode(&image)?)?;
        }
        Event::Completed { images, seed, seeds, warnings, .. } => {
            view.at_end();
            if images.is_empty() {
                return Err(Failure::unforeseen("the job completed without a picture"));
            }
            return Ok(Some(Completed { images, seed, seeds, warnings }));
        }
        Event::Failed { code, message } => {
            return Err(Failure::Job(format!("{}: {message}", code.as_str())));
        }
        Event::Cancelled { by } => return Err(Failure::Job(format!("cancelled by {}", by.as_str()))),
    }
    Ok(None)
}

fn decode(image: &Image) -> Result<Vec<u8>, Failure> {
    image.decode().ok_or_else(|| Failure::unforeseen("the server sent a picture that is not a data URI"))
}
