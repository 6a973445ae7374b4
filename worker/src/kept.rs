//! Keeps the pictures of a finished job where `--results` says, and then ends the job.

use std::time::Duration;

use glimpse_shared::{
    event::Image,
    job::Release,
    results::{Name, Results, ResultsError},
    retry::Waits,
    store::{Ending, Finish},
};
use tokio::time::Instant;

use crate::{
    encoded::Encoded,
    lease::{Finishing, Held},
};

/// How long a write is repeated. The lease is renewed in the meantime.
const WRITE_FOR: Duration = Duration::from_secs(10);
/// The first and the longest wait before a write is repeated.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Writes the pictures, then ends the job with their URLs. So a picture that a client is told of exists.
///
/// The time to live of a picture begins when it is written. If the store cannot be reached for so long that the picture
/// would be deleted too early, it is written again under another name. The first one stays: the store may have ended the
/// job with it, although its answer was lost.
///
/// If the pictures cannot be written, the attempt has failed: another worker may be able to. `None` then, and after a
/// permanent error of the store.
pub async fn finish(
    mut held: Held,
    results: &Results,
    pictures: &[Encoded],
    ending: impl Fn(Vec<Image>) -> Ending,
) -> Option<Finish> {
    loop {
        let mut names = Vec::with_capacity(pictures.len());
        for picture in pictures {
            match write(results, picture).await {
                Ok(name) => names.push(name),
                Err(error) => {
                    tracing::error!(job_id = %held.lease().job.id, %error, "a finished picture is lost: the job is tried again");
                    // Clients read this reason: it has no path and no address.
                    let reason = "the worker could not write the picture to its --results; its log says why"
                        .to_owned();
                    held.release(&Release::Fault(reason)).await;
                    return None;
                }
            }
        }
        let images = pictures.iter().zip(&names).map(|(picture, name)| image(picture, name)).collect();
        let is_current = || names.iter().all(|name| results.is_fresh(name));
        match held.finish_while(&ending(images), is_current).await {
            Finishing::Ended(finish) => return finish,
            Finishing::Outdated(again) => held = *again,
        }
    }
}

/// Writes a picture, and repeats a write that failed.
async fn write(results: &Results, picture: &Encoded) -> Result<Name, ResultsError> {
    let begun = Instant::now();
    let mut waits = Waits::new(WAITS.0, WAITS.1);
    loop {
        match results.put(picture.format, picture.bytes.clone()).await {
            Ok(name) => return Ok(name),
            Err(error) if begun.elapsed() >= WRITE_FOR => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a picture could not be written; retrying");
                tokio::time::sleep(waits.next()).await;
            }
        }
    }
}

fn image(picture: &Encoded, name: &Name) -> Image {
    Image {
        url: name.url(),
        content_type: picture.format.content_type().to_owned(),
        width: picture.width,
        height: picture.height,
    }
}
