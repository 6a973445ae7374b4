//! The rules for deliveries: the calls of the webhooks of ended jobs.

use glimpse_shared::{
    id::{JobId, Micros, Partition},
    store::{
        Rules,
        transition::{Effect, State},
    },
    webhook::{Delivery, Report, Settled},
};

use super::{Broken, Ledger, account::Checked, life::Call, must};

impl Ledger {
    /// The end of a job with a webhook makes its delivery due, in the same write.
    pub(super) fn begin_delivery(&mut self, id: JobId, now: Micros) {
        let Some(life) = self.lives.get_mut(&id) else { return };
        if life.webhook.is_some() && life.ended().is_some() && !life.called {
            life.called = true;
            life.call = Some(Call { at: now, tries: 0, failed: 0 });
        }
    }

    pub(super) fn take_delivery(
        &mut self,
        rules: &Rules,
        partition: Partition,
        taken: Option<&Delivery>,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        must(effects.is_empty(), "a delivery is not an event")?;
        loop {
            let due = self.lives.iter_mut().filter(|(id, _)| id.partition() == Some(partition));
            let due = due.filter_map(|(id, life)| Some((life.call.as_ref()?.at, id, life)));
            let next = due.filter(|(at, ..)| *at <= now).min_by_key(|(at, id, _)| (*at, **id));
            let Some((_, id, life)) = next else {
                must(taken.is_none(), "a webhook was called that nobody must call now")?;
                return Ok(None);
            };
            let Some(call) = &mut life.call else { return Ok(None) };
            if call.tries >= rules.webhook_tries {
                life.call = None;
                continue;
            }
            let taken = taken.ok_or("a webhook that must be called was left out")?;
            must(taken.job == *id, "not the webhook that waits longest")?;
            must(taken.number == call.tries + 1, "a try was left out or repeated")?;
            must(life.webhook.as_ref() == Some(&taken.webhook), "another webhook than the job's")?;
            (call.at, call.tries) = (now.after(rules.webhook_lease), taken.number);
            return Ok(Some(*id));
        }
    }

    pub(super) fn settle_delivery(
        &mut self,
        rules: &Rules,
        (id, number, report): (JobId, u32, Report),
        settled: Settled,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        must(effects.is_empty(), "a delivery is not an event")?;
        let Some(life) = self.lives.get_mut(&id) else {
            must(settled == Settled::Over, "a report about a job that was never accepted")?;
            return Ok(Some(id));
        };
        let wait = (1..number).fold(rules.webhook_first_wait, |wait, _| wait * 2);
        let at = now.after(wait.min(rules.webhook_longest_wait));
        let expected = match &mut life.call {
            None => Settled::Over,
            Some(call) if number > call.tries => Settled::Superseded,
            Some(_) if report == Report::Acknowledged => {
                life.call = None;
                Settled::Over
            }
            Some(call) if number < call.tries => Settled::Superseded,
            Some(call) if call.failed == number => Settled::Again { at: call.at },
            Some(_) if number >= rules.webhook_tries => {
                life.call = None;
                Settled::GivenUp
            }
            Some(call) => {
                (call.at, call.failed) = (at, number);
                Settled::Again { at }
            }
        };
        must(settled == expected, "a report of a try got a wrong answer")?;
        Ok(Some(id))
    }

    /// Checks that every webhook was called until it was acknowledged or given up.
    pub fn all_called(&self) -> Result<(), Broken> {
        must(self.lives().all(|(_, life)| life.call.is_none()), "every webhook is acknowledged or given up")
    }

    /// Checks that the deliveries in the store are those of the account.
    pub(super) fn deliveries(&self, after: &State) -> Result<(), Broken> {
        self.lives.keys().try_for_each(|id| self.delivery(*id, after))
    }

    pub(super) fn delivery(&self, id: JobId, after: &State) -> Result<(), Broken> {
        let expected = self.lives.get(&id).and_then(|life| life.call.as_ref());
        must(
            after.delivery(id) == expected.map(|call| (call.at, call.tries)),
            "a webhook is called from the end of its job until it is acknowledged or given up",
        )
    }
}
