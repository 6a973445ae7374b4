//! Wakes workers when a job waits.
//!
//! Workers with the same capabilities are one kind. They block on one list, which has at most one token. A job that is
//! queued puts a token on the list of each capable kind. A claim that leaves more suitable jobs puts a token on the
//! worker's own list. So while a job waits, each capable kind has a token or a worker that is about to claim. A token
//! wakes one worker. A worker that finds no job blocks again.

use super::{Change, Effect};
use crate::{
    id::App,
    needs::{Capabilities, Needs},
};

impl Change<'_> {
    /// Records that workers with these capabilities claim jobs of the app.
    pub(super) fn look(&mut self, app: &App, capabilities: &Capabilities) {
        let (now, known) = (self.now, self.rules.worker_known);
        let looking = self.state.looking.entry(app.clone()).or_default();
        // Writes rarely, because most claims get no job.
        if looking.get(capabilities).is_none_or(|until| until.since(now) < known / 2) {
            looking.insert(capabilities.clone(), now.after(known));
        }
    }

    /// Wakes the kinds of workers that are capable of a job with these needs.
    pub(super) fn wake_capable(&mut self, app: &App, needs: &Needs) {
        let now = self.now;
        let mut capable = Vec::new();
        if let Some(looking) = self.state.looking.get_mut(app) {
            looking.retain(|_, until| now < *until);
            capable.extend(looking.keys().filter(|capabilities| needs.met_by(capabilities)).cloned());
        }
        if capable.is_empty() {
            // An unknown worker may be capable of it, for example one of the previous release.
            self.wake(app, None);
        }
        for capabilities in capable {
            self.wake(app, Some(capabilities));
        }
    }

    /// Puts a token on the list of these workers, or on the list for any worker.
    pub(super) fn wake(&mut self, app: &App, who: Option<Capabilities>) {
        let list = (app.clone(), who);
        if self.state.wake.insert(list.clone()) {
            self.effects.push(Effect::Woken(list.0, list.1));
        }
    }

    /// Passes a token on. It may have been on either list.
    pub(super) fn pass_on(&mut self, app: &App, capabilities: Capabilities) {
        self.wake(app, Some(capabilities));
        self.wake(app, None);
    }

    /// Takes the token for these workers, or the one for any worker. Returns whether there was one.
    pub(super) fn take_wake(&mut self, app: App, capabilities: Capabilities) -> bool {
        let own = (app, Some(capabilities));
        self.state.wake.remove(&own) || self.state.wake.remove(&(own.0, None))
    }
}
