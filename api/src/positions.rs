//! The positions of waiting jobs, for clients that follow them.
//!
//! One task per app asks the store once a second for the positions of all followed jobs of the app, and only while there
//! are any. So the load of the store does not depend on how fast the queue moves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use glimpse_shared::{
    id::{App, JobId},
    store::SharedStore,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// How often positions are read.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads the positions of the jobs that somebody follows.
pub(crate) struct Positions {
    store: SharedStore,
    followed: Arc<Mutex<Jobs>>,
}

/// The followed jobs of each app. An app has a task while it has an entry.
type Jobs = HashMap<App, HashMap<JobId, watch::Sender<Option<u64>>>>;

/// The position of one job. May be dropped at any time.
pub(crate) struct Position(watch::Receiver<Option<u64>>);

impl Position {
    /// The next new position. Never resolves if there is none any more.
    pub(crate) async fn next(&mut self) -> u64 {
        loop {
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(position) = *self.0.borrow_and_update() {
                return position;
            }
        }
    }
}

impl Positions {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, followed: Arc::default() }
    }

    /// Follows the position of a waiting job of `app`. It is read within [`PERIOD`].
    pub(crate) fn follow(&self, app: &App, id: JobId) -> Position {
        let mut followed = lock(&self.followed);
        let is_read = followed.contains_key(app);
        let jobs = followed.entry(app.clone()).or_default();
        let mut position = jobs.entry(id).or_insert_with(|| watch::channel(None).0).subscribe();
        // Another follower may know it already.
        position.mark_changed();
        if !is_read {
            tokio::spawn(read(self.store.clone(), self.followed.clone(), app.clone()));
        }
        Position(position)
    }
}

fn lock(followed: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    // Each change is whole, so the map is right even after a panic.
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the positions of an app's jobs until nobody follows one.
async fn read(store: SharedStore, followed: Arc<Mutex<Jobs>>, app: App) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(ids) = still_followed(&followed, &app) else { return };
        // Without an answer the clients keep the last position.
        let Ok(positions) = store.positions(&app, &ids).await else { continue };
        let followed = lock(&followed);
        let Some(jobs) = followed.get(&app) else { continue };
        for (id, position) in ids.iter().zip(positions) {
            if let Some(sender) = jobs.get(id) {
                sender.send_if_modified(|known| std::mem::replace(known, position) != position);
            }
        }
    }
}

/// The jobs of an app that somebody follows. Removes the others; `None` if there are none, and the app is removed.
fn still_followed(followed: &Mutex<Jobs>, app: &App) -> Option<Vec<JobId>> {
    let mut followed = lock(followed);
    let jobs = followed.get_mut(app)?;
    jobs.retain(|_, sender| sender.receiver_count() > 0);
    if jobs.is_empty() {
        followed.remove(app);
        return None;
    }
    Some(jobs.keys().copied().collect())
}
