//! The rules that must hold in every run, and their check. The rules about a job's log are shared with the ledger and
//! are in `tests/support/src/history.rs`; here are those about what clients received, and what they may have missed.

use std::collections::BTreeMap;

use glimpse_test_support::history::{History, Violation};

use crate::hooks;
use crate::rules::{Breach, Rule};
use crate::story::{Fate, Follow, Heard, Seen, Story, What, World};

/// How many attempts a job may lose.
const ATTEMPTS: usize = 3;
const EXHAUSTED: What = What::Failed("attempts_exhausted");

pub fn judge(world: &World) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (id, story) in &world.stories {
        let mut case = Case { world, id, story, breaches: &mut breaches };
        case.end();
        case.log();
        case.losses();
        case.burial();
        for follow in &story.follows {
            case.follow(follow);
        }
    }
    for (path, hook) in &world.hooks {
        hooks::judge(path, hook, &world.disturbed, &mut breaches);
    }
    let mut breach = |rule, of: &str, why: String| breaches.push(Breach { rule, of: of.to_owned(), why });
    for (key, ids) in world.keys.iter().chain(&world.retried).filter(|(_, ids)| ids.len() > 1) {
        breach(Rule::OneJob, key, format!("{ids:?}"));
    }
    for (request, pictures) in pictures(world).into_iter().filter(|(_, pictures)| pictures.len() > 1) {
        breach(Rule::SamePictures, &request, format!("{pictures:?}"));
    }
    for id in world.dead.iter().filter(|id| !world.stories.contains_key(*id)) {
        breach(Rule::DeadListed, id, "listed, and nobody knows it".to_owned());
    }
    for (rule, found) in
        [(Rule::NothingLeft, &world.left), (Rule::Mortal, &world.immortal), (Rule::Sound, &world.broken)]
    {
        found.iter().for_each(|found| breach(rule, found, String::new()));
    }
    for (app, end) in world.fresh.iter().filter(|(_, end)| *end != "completed") {
        breach(Rule::Serves, app, format!("a fresh job ended {end}"));
    }
    breaches
}

/// Every picture that a request got, and for which job.
fn pictures(world: &World) -> BTreeMap<String, BTreeMap<u64, Vec<&str>>> {
    let mut pictures: BTreeMap<String, BTreeMap<u64, Vec<&str>>> = BTreeMap::new();
    for (id, story) in &world.stories {
        let (Some(request), Some(end)) = (&story.request, end_of(story)) else { continue };
        let (request, hash) = match end.what {
            What::Completed(hash) => (request.clone(), hash),
            What::FinishedEarly { pictures, step } => (format!("{request} after step {step}"), pictures),
            _ => continue,
        };
        pictures.entry(request).or_default().entry(hash).or_default().push(id);
    }
    pictures
}

/// The end of a job, from the first source that has one; the log counts most.
fn end_of(story: &Story) -> Option<&Seen> {
    let log = story.audit.iter().flat_map(|audit| &audit.log);
    log.chain(&story.watched).find(|seen| seen.is_terminal())
}

struct Case<'a> {
    world: &'a World,
    id: &'a str,
    story: &'a Story,
    breaches: &'a mut Vec<Breach>,
}

impl Case<'_> {
    fn breach(&mut self, rule: Rule, why: String) {
        self.breaches.push(Breach { rule, of: self.id.to_owned(), why });
    }

    /// Ends, EndsOnce, LogIsTheEnd, CancelKept, Deserved.
    fn end(&mut self) {
        let story = self.story;
        let Some(end) = end_of(story) else {
            return self
                .breach(Rule::Ends, format!("no end; status {:?}", story.audit.as_ref().map(|a| &a.status)));
        };
        let follows = story.follows.iter().flat_map(Follow::events);
        let late = story.audit.iter().flat_map(|audit| &audit.late);
        for other in
            story.watched.iter().chain(follows).chain(late).filter(|seen| seen.is_terminal() && *seen != end)
        {
            self.breach(Rule::EndsOnce, format!("{other:?}, and by the log {end:?}"));
        }
        match &story.audit {
            None => self.breach(Rule::Ends, "it was never looked at after its end".to_owned()),
            Some(audit) => {
                if audit.status.as_deref() != end.status() {
                    self.breach(Rule::EndsOnce, format!("status {:?}, and by the log {end:?}", audit.status));
                }
                if audit.log != [end.clone()] {
                    self.breach(Rule::LogIsTheEnd, format!("{:?}", audit.log));
                }
                if audit.late != audit.log {
                    self.breach(Rule::EndDelivered, format!("late, one hears {:?}", audit.late));
                }
            }
        }
        for answer in story.cancel_answers.iter().filter(|answer| Some(answer.as_str()) != end.status()) {
            self.breach(Rule::CancelKept, format!("DELETE answered {answer}, and by the log {end:?}"));
        }
        let deserved = match (&end.what, story.fate) {
            (What::FinishedEarly { .. }, Fate::Innocent) => {
                // The answer to the request that was taken may have been lost, and its repeat answered with the end.
                story.finish_answers.iter().any(|status| [200, 202].contains(status))
            }
            (What::Completed(_), Fate::Innocent | Fate::Unwanted)
            | (What::Cancelled("client" | "disconnect"), Fate::Unwanted)
            | (What::Failed("bad_request"), Fate::Refused) => true,
            (exhausted, fate) => {
                *exhausted == EXHAUSTED && (fate == Fate::Poison || self.struck() >= ATTEMPTS)
            }
        };
        if !deserved {
            self.breach(Rule::Deserved, format!("{:?} ends with {end:?}", story.fate));
        }
    }

    /// How many of its attempts may have been lost to faults.
    fn struck(&self) -> usize {
        let attempts = self.story.watched.iter().filter_map(|seen| match &seen.what {
            What::Started { worker, .. } => Some(worker),
            _ => None,
        });
        attempts.filter(|worker| self.world.struck.contains(*worker)).count()
    }

    /// What Redis wrote: IdsRise, NoHoles, EndsOnce, Fenced, PreviewsOnce.
    fn log(&mut self) {
        let (mut history, mut missing) = (History::default(), 0);
        for seen in &self.story.watched {
            for violation in seen.follows(&mut history) {
                match violation {
                    Violation::Missing(events) => missing += events,
                    _ => self.breach(Rule::of(violation, Rule::EndsOnce), format!("{violation}: {seen:?}")),
                }
            }
        }
        // When Redis is killed, one turn of its event loop may be in its file but not in the watcher's record. A worker
        // waits for each answer, so this is at most one event of its own and one of another process.
        if missing > 2 * self.world.blinks as u64 {
            self.breach(Rule::NoHoles, format!("{missing} of {} are missing", history.seq()));
        }
    }

    /// An attempt was lost if the job waits again after it, or has failed.
    fn losses(&mut self) {
        let mut holder = None;
        for seen in &self.story.watched {
            let lost = match &seen.what {
                What::Started { worker, .. } => {
                    holder = Some(worker);
                    None
                }
                What::Queued => holder.take(),
                what if *what == EXHAUSTED => holder.take(),
                _ => None,
            };
            if let Some(worker) = lost.filter(|worker| !self.world.struck.contains(*worker))
                && self.story.fate != Fate::Poison
            {
                self.breach(Rule::NoLossWithoutCause, format!("{worker} lost it before {seen:?}"));
            }
        }
    }

    fn burial(&mut self) {
        let exhausted = end_of(self.story).is_some_and(|end| end.what == EXHAUSTED);
        let expected = exhausted && !self.world.retried.contains_key(self.id);
        if expected != self.world.dead.contains(self.id) {
            let not = if expected { "not " } else { "" };
            self.breach(Rule::DeadListed, format!("it is {not}on the dead list"));
        }
    }

    /// What one follower received: EndDelivered, EndDeliveredOnce, IdsRise, NoHoles, Fenced, PreviewsOnce.
    fn follow(&mut self, follow: &Follow) {
        let mut history = History::default();
        for heard in &follow.heard {
            let seen = match heard {
                Heard::Event(seen) => seen,
                // Sent before events that a follower was too slow for. Numbers go back only if the store lost writes,
                // and it did not.
                Heard::Gap => {
                    history.skip();
                    continue;
                }
                Heard::Again => continue,
            };
            // A terminal event alone is not a gap: the log holds nothing else.
            if seen.is_terminal() && history == History::default() {
                history.skip();
            }
            for violation in seen.follows(&mut history) {
                let why = format!("{violation}: a follower heard {seen:?}");
                self.breach(Rule::of(violation, Rule::EndDeliveredOnce), why);
            }
        }
        if follow.stayed && history.end().is_none() {
            self.breach(Rule::EndDelivered, format!("a follower heard {:?}", follow.heard));
        }
    }
}
