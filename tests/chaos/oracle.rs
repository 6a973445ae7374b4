//! What must hold, whatever happens: the rules, each once, and the judge. Those of a job's log are the ledger's too and
//! stand in `tests/support/src/history.rs`; here is who heard it, and what they may have missed.

use std::collections::BTreeMap;

use glimpse_test_support::history::{History, Violation};

use crate::story::{Fate, Follow, Heard, Seen, Story, What, World};

/// The promises of `docs/guarantees.md`, as a run can break them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every job that anybody heard of ends.
    Ends,
    /// There is one terminal event; log, status and every follower have the same one.
    EndsOnce,
    /// An ended job's log is its terminal event alone.
    LogIsTheEnd,
    /// Who stays or returns hears the end.
    Told,
    /// Nobody hears the end twice, or anything after it.
    ToldOnce,
    /// Ids rise strictly, for every follower, over all its connections.
    IdsRise,
    /// The numbers of a log have no holes.
    NoHoles,
    /// Attempts rise, and a preview is of the one that holds the job: a worker that lost it says nothing about it.
    Fenced,
    /// A preview is sent once per attempt and step, in the order of the steps.
    PreviewsOnce,
    /// No attempt is lost without a fault that struck its worker.
    NoLossWithoutCause,
    /// A job ends as its request deserves.
    Deserved,
    /// What DELETE answers is how the job ended.
    CancelKept,
    /// The same request gives the same pictures, however many attempts it takes.
    SamePictures,
    /// One idempotency key is one job, and so is a dead one's retry.
    OneJob,
    /// Who was given up on is on the dead list, and nobody else; a retry takes it off.
    Buried,
    /// Nothing is left to do.
    NothingLeft,
    /// Every key but those that `docs/store.md` names has a time to live.
    Mortal,
    /// No process panics, or ends by itself.
    Sound,
    /// The fleet serves on.
    Serves,
}

impl Rule {
    /// The one that an event breaks where it was heard; `last`, that nothing comes after the end.
    fn of(violation: Violation, last: Self) -> Self {
        match violation {
            Violation::AfterTheEnd => last,
            Violation::OutOfOrder => Self::IdsRise,
            Violation::Missing(_) => Self::NoHoles,
            Violation::AttemptAgain | Violation::Fenced => Self::Fenced,
            Violation::PreviewAgain => Self::PreviewsOnce,
        }
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    pub rule: Rule,
    /// A job's id, or what else it is about.
    pub of: String,
    pub why: String,
}

/// As many attempts as a job may lose.
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
    let mut breach = |rule, of: &str, why: String| breaches.push(Breach { rule, of: of.to_owned(), why });
    for (key, ids) in world.keys.iter().chain(&world.retried).filter(|(_, ids)| ids.len() > 1) {
        breach(Rule::OneJob, key, format!("{ids:?}"));
    }
    for (request, pictures) in pictures(world).into_iter().filter(|(_, pictures)| pictures.len() > 1) {
        breach(Rule::SamePictures, request, format!("{pictures:?}"));
    }
    for id in world.dead.iter().filter(|id| !world.stories.contains_key(*id)) {
        breach(Rule::Buried, id, "listed, and nobody knows it".to_owned());
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

/// Every picture that a request was given, and for whom.
fn pictures(world: &World) -> BTreeMap<&str, BTreeMap<u64, Vec<&str>>> {
    let mut pictures: BTreeMap<&str, BTreeMap<u64, Vec<&str>>> = BTreeMap::new();
    for (id, story) in &world.stories {
        if let (Some(request), Some(What::Completed(hash))) =
            (&story.request, end_of(story).map(|end| &end.what))
        {
            pictures.entry(request).or_default().entry(*hash).or_default().push(id);
        }
    }
    pictures
}

/// The end, by the first of the witnesses who has one: what the log holds counts most.
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
                    self.breach(Rule::Told, format!("late, one hears {:?}", audit.late));
                }
            }
        }
        for told in story.told.iter().filter(|told| Some(told.as_str()) != end.status()) {
            self.breach(Rule::CancelKept, format!("DELETE answered {told}, and by the log {end:?}"));
        }
        let deserved = match (&end.what, story.fate) {
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
        // When Redis is killed, one turn of its loop may be in its file and not told to the watcher: a worker waits for
        // each answer, so that is one event of its own, and one of somebody else's.
        if missing > 2 * self.world.blinks as u64 {
            self.breach(Rule::NoHoles, format!("{missing} of {} are missing", history.seq()));
        }
    }

    /// An attempt after which the job waits again, or has failed, has lost its worker.
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
            self.breach(Rule::Buried, format!("it is {not}on the dead list"));
        }
    }

    /// What one follower heard: Told, ToldOnce, IdsRise, NoHoles, Fenced, PreviewsOnce.
    fn follow(&mut self, follow: &Follow) {
        let mut history = History::default();
        for heard in &follow.heard {
            let seen = match heard {
                Heard::Event(seen) => seen,
                // Said before what a follower was not fast enough for. To go back is for a store that lost writes, and
                // none did.
                Heard::Gap => {
                    history.skip();
                    continue;
                }
                Heard::Again => continue,
            };
            // A terminal event alone is no gap: it is all there is.
            if seen.is_terminal() && history == History::default() {
                history.skip();
            }
            for violation in seen.follows(&mut history) {
                let why = format!("{violation}: a follower heard {seen:?}");
                self.breach(Rule::of(violation, Rule::ToldOnce), why);
            }
        }
        if follow.stayed && history.end().is_none() {
            self.breach(Rule::Told, format!("a follower heard {:?}", follow.heard));
        }
    }
}
