//! Which workers sleep, and which are woken when a job waits.
//!
//! Workers of the same capabilities sleep at one list, which holds a token or not. A job that begins to wait puts a
//! token on the list of all who are capable of it; a claim that leaves more such jobs puts one on the worker's own.
//! So while a job waits, of each kind that is capable of it a worker is about to claim or a token is there. One token
//! wakes one worker, and a worker that finds nothing sleeps on.

use super::{Change, Effect};
use crate::{
    id::App,
    needs::{Capabilities, Needs},
};

impl Change<'_> {
    /// Workers of these capabilities look for jobs of the app.
    pub(super) fn look(&mut self, app: &App, capabilities: &Capabilities) {
        let (now, known) = (self.now, self.rules.worker_known);
        let looking = self.state.looking.entry(app.clone()).or_default();
        // Most claims get nothing, and write nothing then.
        if looking.get(capabilities).is_none_or(|until| until.since(now) < known / 2) {
            looking.insert(capabilities.clone(), now.after(known));
        }
    }

    /// A job of the app that needs this waits.
    pub(super) fn wake_capable(&mut self, app: &App, needs: &Needs) {
        let now = self.now;
        let mut capable = Vec::new();
        if let Some(looking) = self.state.looking.get_mut(app) {
            looking.retain(|_, until| now < *until);
            capable.extend(looking.keys().filter(|capabilities| needs.met_by(capabilities)).cloned());
        }
        if capable.is_empty() {
            // A worker that is not known may be capable of it: one of the release before, say.
            self.wake(app, None);
        }
        for capabilities in capable {
            self.wake(app, Some(capabilities));
        }
    }

    /// Puts a token on the list of these workers, or on that of any.
    pub(super) fn wake(&mut self, app: &App, who: Option<Capabilities>) {
        let list = (app.clone(), who);
        if self.state.wake.insert(list.clone()) {
            self.effects.push(Effect::Woken(list.0, list.1));
        }
    }

    /// A token passed on: it may have been of either list.
    pub(super) fn pass_on(&mut self, app: &App, capabilities: Capabilities) {
        self.wake(app, Some(capabilities));
        self.wake(app, None);
    }

    /// Takes the token that these workers sleep for, or else that of any; whether there was one.
    pub(super) fn take_wake(&mut self, app: App, capabilities: Capabilities) -> bool {
        let own = (app, Some(capabilities));
        self.state.wake.remove(&own) || self.state.wake.remove(&(own.0, None))
    }
}
