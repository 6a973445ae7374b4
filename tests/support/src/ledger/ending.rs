//! The rules for processes that do not hold the job.

use glimpse_shared::{
    event::EventKind,
    id::{JobId, Micros},
    store::{
        Cancel, FinishEarly, Rules,
        transition::{Effect, ReapOutcome},
    },
};

use super::{
    Ledger, Life,
    account::{Checked, kind},
    must,
};

impl Ledger {
    pub(super) fn cancel(&mut self, id: JobId, cancel: Cancel, effects: &[Effect]) -> Checked {
        let expected = self
            .lives
            .get(&id)
            .map_or(Cancel::Unknown, |life| life.ended().map_or(Cancel::Cancelled, Cancel::AlreadyDone));
        must(cancel == expected, "an end that was written stays")?;
        let running = self.lives.get(&id).is_some_and(|life| life.holder.is_some());
        let notified =
            effects.iter().any(|effect| matches!(effect, Effect::CancelledRunning(_, of) if *of == id));
        let appended = self.append(id, effects)?;
        must(
            (kind(&appended) == Some(EventKind::Cancelled)) == (cancel == Cancel::Cancelled),
            "one cancel, one event",
        )?;
        must(notified == (running && appended.is_some()), "the worker of a cancelled job is notified, once")?;
        if let Some(life) = self.lives.get_mut(&id).filter(|_| appended.is_some()) {
            life.fence_off();
        }
        Ok(Some(id))
    }

    pub(super) fn finish_early(&mut self, id: JobId, answer: FinishEarly, effects: &[Effect]) -> Checked {
        let asks = |life: &Life| life.ended().is_none() && life.finish_early.is_none();
        let newly = self.lives.get(&id).filter(|life| asks(life)).and_then(Life::step);
        let expected = match self.lives.get(&id) {
            None => FinishEarly::Unknown,
            Some(life) => match life.ended() {
                Some(ended) => FinishEarly::AlreadyDone(ended),
                None if newly.is_some() || life.finish_early.is_some() => FinishEarly::Asked,
                None => FinishEarly::TooEarly,
            },
        };
        must(answer == expected, "a request to finish early got a wrong answer")?;
        must(self.append(id, effects)?.is_none(), "a request to finish early has no event")?;
        let told = effects.iter().find_map(|effect| match effect {
            Effect::FinishEarly(_, of, at) if *of == id => Some(*at),
            _ => None,
        });
        must(told == newly, "the worker of a job that should finish early is notified, once, of the step")?;
        if let Some(life) = self.lives.get_mut(&id).filter(|_| newly.is_some()) {
            life.finish_early = newly;
        }
        Ok(Some(id))
    }

    pub(super) fn reap(
        &mut self,
        rules: &Rules,
        (id, seen): (JobId, Micros),
        reaped: ReapOutcome,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        let over_already = self.lives.get(&id).is_some_and(|life| life.ended().is_some());
        let appended = self.append(id, effects)?;
        let Some(life) = self.lives.get_mut(&id) else {
            must(reaped == ReapOutcome::Nothing, "an unknown job was reaped")?;
            return Ok(Some(id));
        };
        let over = life.deadline <= now;
        let lost = life.is_lost(now);
        let last = life.counted + 1 >= rules.attempts;
        let expected = match () {
            () if over_already || now.since(seen) > rules.reap_within => ReapOutcome::Nothing,
            () if over => ReapOutcome::Ended,
            () if lost && last => ReapOutcome::Ended,
            () if lost => ReapOutcome::GivenBack,
            () => ReapOutcome::Nothing,
        };
        must(reaped != ReapOutcome::GivenBack || lost, "a job was taken from a worker that holds it")?;
        must(reaped == expected, "reap did otherwise than it must")?;
        let event = match reaped {
            ReapOutcome::Ended => Some(EventKind::Failed),
            ReapOutcome::GivenBack => Some(EventKind::Queued),
            ReapOutcome::Nothing => None,
        };
        must(kind(&appended) == event, "what reap does and what it says are one")?;
        if reaped != ReapOutcome::Nothing {
            life.counted += u32::from(lost && !over);
            life.fence_off();
        }
        Ok(Some(id))
    }

    pub(super) fn forget(&mut self, id: JobId, effects: &[Effect]) -> Checked {
        must(effects.iter().all(|e| matches!(e, Effect::Forgotten(_))), "an event of a forgotten job")?;
        if self.lives.get(&id).is_some_and(|life| life.ended().is_some()) {
            self.lives.remove(&id);
        }
        Ok(Some(id))
    }
}
