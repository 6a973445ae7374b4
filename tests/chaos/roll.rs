//! A rolling upgrade under load, and back, and forward again: only if there are programs of the release before.

use std::time::{Duration, Instant};

use crate::{
    fleet::Fleet,
    process::Place,
    release::{Release, previous},
};

impl Fleet {
    /// Replaces every process by one of today's release, one after the other, then by those of the release before, then
    /// by today's again. At any time some slots have one release and the others the other. Takes about `span`.
    pub async fn roll(&self, span: Duration) {
        if previous().is_none() {
            return;
        }
        let (workers, apis): (Vec<_>, Vec<_>) = self.places.iter().partition(|place| !place.is_api());
        // The last round is that of a real upgrade.
        let rounds = [
            (Release::Todays, [&apis, &workers]),
            (Release::Previous, [&apis, &workers]),
            (Release::Todays, [&workers, &apis]),
        ];
        let apart = span / (rounds.len() * self.places.len()) as u32;
        for (release, order) in rounds {
            for place in order.into_iter().flatten() {
                let begun = Instant::now();
                self.replace(place, release).await;
                tokio::time::sleep(apart.saturating_sub(begun.elapsed())).await;
            }
        }
    }

    async fn replace(&self, place: &Place, release: Release) {
        // A process that has another fault at the moment is replaced after it.
        let mut process = place.process.lock().await;
        let begun = Instant::now();
        *place.release.lock().unwrap() = release;
        self.notes.lock().unwrap().struck.extend(process.worker());
        self.drain(place, &mut process).await;
        let mut notes = self.notes.lock().unwrap();
        *notes.faults.entry(if release == Release::Todays { "upgrade" } else { "downgrade" }).or_default() +=
            1;
        if place.is_api() {
            notes.disturbed.push((begun, Instant::now()));
        }
    }
}
