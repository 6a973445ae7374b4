//! What each command may do to a job, and which answer is then the true one.

use glimpse_shared::{
    event::{EventKind, Frame},
    id::{JobId, Micros},
    job::{Job, Release, Status},
    store::{
        Cancel, Claim, Finish, Hold, Lease, Released, Retry, Rules, Submit,
        transition::{Command, Effect, Fence, Outcome, ReapOutcome},
    },
};

use super::{Broken, Ledger, Life, life::Holder};

type Told = Result<Option<JobId>, Broken>;

/// Something that must be so.
fn must(so: bool, otherwise: &str) -> Result<(), Broken> {
    if so { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn kind(appended: &Option<Frame>) -> Option<EventKind> {
    appended.as_ref().map(|frame| frame.kind)
}

impl Ledger {
    /// Enters a command; answers whose job it was about.
    pub(super) fn account(
        &mut self,
        rules: &Rules,
        command: &Command,
        outcome: &Outcome,
        effects: &[Effect],
        now: Micros,
    ) -> Told {
        match (command, outcome) {
            (Command::Submit(job), Outcome::Submit(submit)) => self.submit(job, submit, effects, now),
            (Command::TryClaim(claim), Outcome::Claim(lease)) => {
                self.claim(rules, claim, lease.as_deref(), effects, now)
            }
            (Command::Renew(fence, checkpoint), Outcome::Renew(hold)) => {
                self.append(fence.id, effects)?;
                self.hold(fence, *hold)?;
                if let Some(life) = self.lives.get_mut(&fence.id).filter(|_| *hold == Hold::Held) {
                    life.extend(now.after(rules.lease));
                    life.checkpoint = checkpoint.clone().or(life.checkpoint.take());
                }
                Ok(Some(fence.id))
            }
            (Command::Publish(fence, frame, step), Outcome::Publish(hold, seq)) => {
                self.hold(fence, *hold)?;
                let appended = self.append(fence.id, effects)?;
                must(
                    appended.is_none() || *hold == Hold::Held,
                    "a preview of one who does not hold the job",
                )?;
                must(
                    appended.is_none() || appended.as_ref() == Some(frame),
                    "not the preview that was sent",
                )?;
                let Some(life) = self.lives.get_mut(&fence.id).filter(|_| *hold == Hold::Held) else {
                    return Ok(Some(fence.id));
                };
                must(*seq == life.seq, "the lease goes on at another number than the job")?;
                if appended.is_some() {
                    must(life.step < Some(*step), "a preview again, or one older than the newest")?;
                    life.step = Some(*step);
                    life.extend(now.after(rules.lease));
                }
                Ok(Some(fence.id))
            }
            (Command::Finish(fence, frame, status), outcome) => {
                self.finish(fence, frame, *status, outcome, effects)
            }
            (Command::Release(fence, release), Outcome::Release(released)) => {
                self.release(rules, fence, release, *released, effects)
            }
            (Command::Cancel(id, _), Outcome::Cancel(cancel)) => self.cancel(*id, *cancel, effects),
            (Command::Reap(id, seen), Outcome::Reap(reaped)) => {
                self.reap(rules, *id, *seen, *reaped, effects, now)
            }
            (Command::Retry(id), Outcome::Retry(retry)) => self.retry(*id, retry, effects, now),
            (Command::Forget(id), Outcome::Done) => {
                must(
                    effects.iter().all(|e| matches!(e, Effect::Forgotten(_))),
                    "an event of a forgotten job",
                )?;
                if self.lives.get(id).is_some_and(|life| life.ended.is_some()) {
                    self.lives.remove(id);
                }
                Ok(Some(*id))
            }
            (Command::TakeWake(_), Outcome::Woken(_))
            | (Command::Wake(_) | Command::Heartbeat(_), Outcome::Done) => Ok(None),
            _ => Err("an answer to another question".to_owned()),
        }
    }

    fn submit(&mut self, job: &Job, submit: &Submit, effects: &[Effect], now: Micros) -> Told {
        let known = self.lives.get(&job.id).map(|life| life.digest == job.digest);
        must(known != Some(true) || *submit == Submit::Duplicate, "the same submit again is a duplicate")?;
        must(known != Some(false) || *submit == Submit::Conflict, "another submit of that id is a conflict")?;
        let submitted = matches!(submit, Submit::Submitted { .. });
        must(
            known.is_some() || submitted || matches!(submit, Submit::Full { .. }),
            "a new job is no duplicate",
        )?;
        if submitted {
            self.lives.insert(job.id, Life::new(job, now));
        }
        let queued = kind(&self.append(job.id, effects)?) == Some(EventKind::Queued);
        must(queued == submitted, "a job is queued once, with its submit")?;
        Ok(Some(job.id))
    }

    fn claim(
        &mut self,
        rules: &Rules,
        claim: &Claim,
        lease: Option<&Lease>,
        effects: &[Effect],
        now: Micros,
    ) -> Told {
        let Some(lease) = lease else {
            must(effects.is_empty(), "a claim that got nothing did something")?;
            return Ok(None);
        };
        let id = lease.job.id;
        let started = kind(&self.append(id, effects)?) == Some(EventKind::Started);
        let life = self.lives.get_mut(&id).ok_or("a lease of a job that was never accepted")?;
        must(life.ended.is_none(), "a lease of an ended job")?;
        must(lease.worker == claim.worker, "a lease in another worker's name")?;
        if started {
            must(life.holder.is_none(), "two leases of one job")?;
            if life.attempt == 0 {
                life.deadline = now.after(life.run_timeout);
            }
            life.attempt += 1;
            life.holder = Some(Holder { worker: claim.worker.clone(), until: now.after(rules.lease) });
        }
        must(life.is_held_by(&Fence::from(lease)), "a lease of one who does not hold the job")?;
        must(lease.checkpoint == life.checkpoint, "a lease without the newest good checkpoint")?;
        Ok(Some(id))
    }

    /// The fence: the holder's writes count, and nobody else's.
    fn hold(&self, fence: &Fence, hold: Hold) -> Result<(), Broken> {
        let Some(life) = self.lives.get(&fence.id) else {
            return must(hold == Hold::Lost, "a write about a job that was never accepted");
        };
        let expected = match life.ended {
            Some(Status::Cancelled) => Hold::Cancelled,
            _ if life.is_held_by(fence) => Hold::Held,
            _ => Hold::Lost,
        };
        must(hold != Hold::Held || expected == Hold::Held, "a write was accepted of one who is fenced off")?;
        must(hold == expected, "a worker was told otherwise than it is")
    }

    fn finish(
        &mut self,
        fence: &Fence,
        frame: &Frame,
        status: Status,
        outcome: &Outcome,
        effects: &[Effect],
    ) -> Told {
        let Some(life) = self.lives.get(&fence.id) else {
            must(*outcome == Outcome::Finish(Finish::Lost), "an unknown job was finished")?;
            return Ok(Some(fence.id));
        };
        let (held, next, again) =
            (life.is_held_by(fence), life.seq.next(), life.finisher.as_ref() == Some(fence));
        let cancelled = life.ended == Some(Status::Cancelled);
        let appended = self.append(fence.id, effects)?;
        let expected = match () {
            () if cancelled => Outcome::Finish(Finish::Cancelled),
            () if held && frame.seq != next => Outcome::Renumber(next),
            () if held || again => Outcome::Finish(Finish::Finished),
            () => Outcome::Finish(Finish::Lost),
        };
        let finished = *outcome == Outcome::Finish(Finish::Finished);
        must(!finished || held || again, "a finish was accepted of one who is fenced off")?;
        must(*outcome == expected, "a worker was told otherwise than it is")?;
        let ends = held && finished;
        must(appended.is_some() == ends, "a job ends with its event")?;
        if let Some(life) = self.lives.get_mut(&fence.id).filter(|_| ends) {
            must(life.ended == Some(status), "a job ended otherwise than its event")?;
            life.finisher = Some(fence.clone());
            life.fence_off();
        }
        Ok(Some(fence.id))
    }

    fn release(
        &mut self,
        rules: &Rules,
        fence: &Fence,
        release: &Release,
        released: Released,
        effects: &[Effect],
    ) -> Told {
        let (held, cancelled) = self
            .lives
            .get(&fence.id)
            .map_or((false, false), |life| (life.is_held_by(fence), life.ended == Some(Status::Cancelled)));
        let expected = match (held, cancelled) {
            (_, true) => Released::Cancelled,
            (true, false) => Released::Released,
            (false, false) => Released::Lost,
        };
        must(released == expected, "a worker was told otherwise than it is")?;
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

    fn cancel(&mut self, id: JobId, cancel: Cancel, effects: &[Effect]) -> Told {
        let expected = self
            .lives
            .get(&id)
            .map_or(Cancel::Unknown, |life| life.ended.map_or(Cancel::Cancelled, Cancel::AlreadyDone));
        must(cancel == expected, "an end that was written stays")?;
        let running = self.lives.get(&id).is_some_and(|life| life.holder.is_some());
        let told =
            effects.iter().any(|effect| matches!(effect, Effect::CancelledRunning(_, of) if *of == id));
        let appended = self.append(id, effects)?;
        must(
            (kind(&appended) == Some(EventKind::Cancelled)) == (cancel == Cancel::Cancelled),
            "one cancel, one event",
        )?;
        must(told == (running && appended.is_some()), "the worker of a cancelled job is told, once")?;
        if let Some(life) = self.lives.get_mut(&id).filter(|_| appended.is_some()) {
            life.fence_off();
        }
        Ok(Some(id))
    }

    fn reap(
        &mut self,
        rules: &Rules,
        id: JobId,
        seen: Micros,
        reaped: ReapOutcome,
        effects: &[Effect],
        now: Micros,
    ) -> Told {
        let over_already = self.lives.get(&id).is_some_and(|life| life.ended.is_some());
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

    fn retry(&mut self, id: JobId, retry: &Retry, effects: &[Effect], now: Micros) -> Told {
        let Retry::Submitted { id: new, .. } = retry else {
            must(effects.is_empty(), "a retry that made no job did something")?;
            return Ok(None);
        };
        let old = self.lives.get(&id).ok_or("a job that was never accepted was retried")?;
        must(old.ended == Some(Status::Failed), "a job that did not fail was retried")?;
        must(!self.lives.contains_key(new), "a job was retried twice")?;
        let life = old.retried(now);
        self.lives.insert(*new, life);
        let queued = kind(&self.append(*new, effects)?) == Some(EventKind::Queued);
        must(queued, "a retried job waits")?;
        Ok(Some(*new))
    }
}
