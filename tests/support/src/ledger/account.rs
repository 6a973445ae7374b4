//! Calls the rule of each command, and checks that the answer belongs to the command.

use glimpse_shared::{
    event::{EventKind, Frame},
    id::{JobId, Micros},
    store::{
        Rules,
        transition::{Command, Effect, Outcome},
    },
};

use super::{Broken, Ledger};

/// The job of a command, or the broken promise.
pub(super) type Checked = Result<Option<JobId>, Broken>;

pub(super) fn kind(appended: &Option<Frame>) -> Option<EventKind> {
    appended.as_ref().map(|frame| frame.kind)
}

impl Ledger {
    /// Records a command. Returns its job.
    pub(super) fn account(
        &mut self,
        rules: &Rules,
        command: &Command,
        outcome: &Outcome,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        match (command, outcome) {
            (Command::Submit(job, quota), Outcome::Submit(submit)) => {
                self.submit(job, *quota, submit, effects, now)
            }
            (Command::TryClaim(claim), Outcome::Claim(lease)) => {
                self.claim(rules, claim, lease.as_deref(), effects, now)
            }
            (Command::Retry(id), Outcome::Retry(retry)) => self.retry(*id, retry, effects, now),
            (Command::Renew(fence, checkpoint), Outcome::Renew(hold)) => {
                self.renew(fence, checkpoint.as_ref(), *hold, effects, now.after(rules.lease))
            }
            (Command::Publish(fence, frame, ..), Outcome::Publish(hold, seq)) => {
                self.publish(fence, frame, (*hold, *seq), effects, now.after(rules.lease))
            }
            (Command::Publish(fence, frame, _, Some(index)), Outcome::Renumber(next)) => {
                self.renumber(fence, frame, (*index, *next), effects)
            }
            (Command::Finish(fence, frame, status), outcome) => {
                self.finish(fence, frame, *status, outcome, effects)
            }
            (Command::Release(fence, release), Outcome::Release(released)) => {
                self.release(rules, fence, release, *released, effects)
            }
            (Command::Cancel(id, _), Outcome::Cancel(cancel)) => self.cancel(*id, *cancel, effects),
            (Command::FinishEarly(id), Outcome::FinishEarly(answer)) => {
                self.finish_early(*id, *answer, effects)
            }
            (Command::Reap(id, seen), Outcome::Reap(reaped)) => {
                self.reap(rules, (*id, *seen), *reaped, effects, now)
            }
            (Command::TakeDelivery(partition), Outcome::Delivery(taken)) => {
                self.take_delivery(rules, *partition, taken.as_deref(), effects, now)
            }
            (Command::SettleDelivery(id, number, report), Outcome::Settled(settled)) => {
                self.settle_delivery(rules, (*id, *number, *report), *settled, effects, now)
            }
            (Command::Forget(id), Outcome::Done) => self.forget(*id, effects),
            (Command::TakeWake(..), Outcome::Woken(_))
            | (Command::Wake(..) | Command::Heartbeat(_), Outcome::Done) => Ok(None),
            _ => Err("an answer to another command".to_owned()),
        }
    }
}
