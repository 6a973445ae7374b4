//! Deletes expired pictures from `--results`. Every API does: a picture that another one has deleted is no error.

use std::time::Duration;

use glimpse_shared::{jitter, results::Results};

/// How many pictures a pass deletes at most.
const MOST: usize = 1000;
/// The pause between two passes is a tenth of the time to live, within these bounds.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a pass that has left expired pictures.
const BETWEEN: Duration = Duration::from_millis(100);

/// Deletes expired pictures, as long as it is polled.
pub(crate) async fn run(results: Results) {
    let period = (results.ttl() / 10).clamp(LEAST_PAUSE, MOST_PAUSE);
    let mut trouble: Option<String> = None;
    loop {
        let swept = results.sweep(MOST).await;
        if swept.deleted > 0 {
            tracing::info!(deleted = swept.deleted, "deleted expired pictures");
        }
        match (&swept.failed, &trouble) {
            (Some(error), before) if before.as_ref() != Some(error) => {
                let place = results.place();
                tracing::error!(%place, error, "expired pictures cannot be deleted: --results needs the rights to list and delete; retrying");
            }
            (None, Some(_)) => tracing::info!("expired pictures are deleted again"),
            _ => {}
        }
        let is_clear = swept.failed.is_none();
        trouble = swept.failed;
        let pause = if swept.more && is_clear { BETWEEN } else { period };
        tokio::time::sleep(pause.mul_f64(1.0 - 0.1 * jitter::fraction())).await;
    }
}
