//! The rules for the holder of a job.

use glimpse_shared::{
    event::{EventKind, Frame},
    id::{Micros, Seq},
    job::{Release, Status},
    store::{
        Checkpoint, Finish, Hold, Released, Rules,
        transition::{Effect, Fence, Outcome},
    },
};

use super::{
    Broken, Ledger,
    account::{Checked, kind},
    must,
};

impl Ledger {
    pub(super) fn renew(
        &mut self,
        fence: &Fence,
        checkpoint: Option<&Checkpoint>,
        hold: Hold,
        effects: &[Effect],
        until: Micros,
    ) -> Checked {
        let appended = self.append(fence.id, effects)?;
        must(appended.is_none(), "a renewal has no event")?;
        self.hold(fence, hold)?;
        if let Some(life) = self.lives.get_mut(&fence.id).filter(|_| hold.is_held()) {
            life.extend(until);
            life.checkpoint = checkpoint.cloned().or(life.checkpoint.take());
        }
        Ok(Some(fence.id))
    }

    pub(super) fn publish(
        &mut self,
        fence: &Fence,
        frame: &Frame,
        (hold, seq): (Hold, Seq),
        effects: &[Effect],
        until: Micros,
    ) -> Checked {
        self.hold(fence, hold)?;
        let appended = self.append(fence.id, effects)?;
        must(appended.is_none() || hold.is_held(), "a preview of one who does not hold the job")?;
        must(appended.is_none() || appended.as_ref() == Some(frame), "not the preview that was sent")?;
        let Some(life) = self.lives.get_mut(&fence.id).filter(|_| hold.is_held()) else {
            return Ok(Some(fence.id));
        };
        must(seq == life.history.seq(), "the lease goes on at another number than the job")?;
        if appended.is_some() {
            life.extend(until);
        }
        Ok(Some(fence.id))
    }

    /// Checks that a partial picture was not written because of its number.
    pub(super) fn renumber(
        &mut self,
        fence: &Fence,
        frame: &Frame,
        (index, next): (u32, Seq),
        effects: &[Effect],
    ) -> Checked {
        let finish_early = self.lives.get(&fence.id).and_then(|life| life.finish_early);
        self.hold(fence, Hold::holding(finish_early))?;
        must(effects.is_empty(), "a refused picture has no event")?;
        if let Some(life) = self.lives.get(&fence.id) {
            must(next == life.history.seq().next(), "a partial picture gets another number than the next")?;
            must(frame.seq != next, "a partial picture with the right number was refused")?;
            must(!life.partials.contains_key(&index), "a partial picture is to be written again")?;
        }
        Ok(Some(fence.id))
    }

    pub(super) fn finish(
        &mut self,
        fence: &Fence,
        frame: &Frame,
        status: Status,
        outcome: &Outcome,
        effects: &[Effect],
    ) -> Checked {
        let Some(life) = self.lives.get(&fence.id) else {
            must(*outcome == Outcome::Finish(Finish::Lost), "an unknown job was finished")?;
            return Ok(Some(fence.id));
        };
        let (held, next, again) =
            (life.is_held_by(fence), life.history.seq().next(), life.finisher.as_ref() == Some(fence));
        let cancelled = life.ended() == Some(Status::Cancelled);
        let appended = self.append(fence.id, effects)?;
        let expected = match () {
            () if cancelled => Outcome::Finish(Finish::Cancelled),
            () if held && frame.seq != next => Outcome::Renumber(next),
            () if held || again => Outcome::Finish(Finish::Finished),
            () => Outcome::Finish(Finish::Lost),
        };
        let finished = *outcome == Outcome::Finish(Finish::Finished);
        must(!finished || held || again, "a finish was accepted of one who is fenced off")?;
        must(*outcome == expected, "a worker got a wrong answer")?;
        let ends = held && finished;
        must(appended.is_some() == ends, "a job ends with its event")?;
        if let Some(life) = self.lives.get_mut(&fence.id).filter(|_| ends) {
            must(life.ended() == Some(status), "a job ended otherwise than its event")?;
            life.finisher = Some(fence.clone());
            life.fence_off();
        }
        Ok(Some(fence.id))
    }

    pub(super) fn release(
        &mut self,
        rules: &Rules,
        fence: &Fence,
        release: &Release,
        released: Released,
        effects: &[Effect],
    ) -> Checked {
        let (held, cancelled) = self
            .lives
            .get(&fence.id)
            .map_or((false, false), |life| (life.is_held_by(fence), life.ended() == Some(Status::Cancelled)));
        let expected = match (held, cancelled) {
            (_, true) => Released::Cancelled,
            (true, false) => Released::Released,
            (false, false) => Released::Lost,
        };
        must(released == expected, "a worker got a wrong answer")?;
        let appended = self.append(fence.id, effects)?;
        let Some(life) = self.lives.get_mut(&fence.id).filter(|_| held) else {
            must(appended.is_none(), "a job was given back by one who does not hold it")?;
            return Ok(Some(fence.id));
        };
        if matches!(release, Release::Fault(_)) {
            life.counted += 1;
            life.checkpoint = None;
        }
        let last = life.counted >= rules.attempts;
        let expected = if last { EventKind::Failed } else { EventKind::Queued };
        must(
            kind(&appended) == Some(expected),
            "a job that was given back waits again, or has had its last try",
        )?;
        life.fence_off();
        Ok(Some(fence.id))
    }

    /// Checks the fence: only the holder's writes count.
    fn hold(&self, fence: &Fence, hold: Hold) -> Result<(), Broken> {
        let Some(life) = self.lives.get(&fence.id) else {
            return must(hold == Hold::Lost, "a write about a job that was never accepted");
        };
        let expected = match life.ended() {
            Some(Status::Cancelled) => Hold::Cancelled,
            _ if life.is_held_by(fence) => Hold::holding(life.finish_early),
            _ => Hold::Lost,
        };
        must(!hold.is_held() || expected.is_held(), "a write was accepted of one who is fenced off")?;
        must(hold == expected, "a worker got a wrong answer")
    }
}
