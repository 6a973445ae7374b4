//! Deliveries: the calls of the webhooks of ended jobs.

use std::time::Duration;

use super::{Change, state::Due};
use crate::{
    id::{JobId, Partition},
    webhook::{Delivery, Report, Settled},
};

impl Change<'_> {
    /// Makes the delivery of a job that has just ended due, if it has a webhook. Returns the job's time to live: it must
    /// not expire before the delivery is over.
    pub(super) fn begin_delivery(&mut self, id: JobId, ttl: Duration) -> Duration {
        let Some(record) = self.state.jobs.get(&id).filter(|record| record.job.webhook.is_some()) else {
            return ttl;
        };
        let partition = record.job.app.partition();
        self.set_delivery(partition, id, Some(Due { at: self.now, tries: 0, failed: 0, ttl }));
        ttl.max(self.rules.webhook_ttl)
    }

    /// Leases the most overdue delivery. One whose last try has expired is given up.
    pub(super) fn take_delivery(&mut self, partition: Partition) -> Option<Delivery> {
        loop {
            let (at, id) = self.state.hooks.get(&partition)?.first().copied()?;
            if at > self.now {
                return None;
            }
            let record = self.state.jobs.get(&id)?;
            let (due, webhook) = record.delivery.zip(record.job.webhook.clone())?;
            let (tenant, traceparent) = (record.job.tenant.clone(), record.job.traceparent.clone());
            if due.tries >= self.rules.webhook_tries {
                self.end_delivery(id);
                continue;
            }
            let number = due.tries + 1;
            let at = self.now.after(self.rules.webhook_lease);
            self.set_delivery(partition, id, Some(Due { at, tries: number, ..due }));
            return Some(Delivery { job: id, number, webhook, tenant, traceparent });
        }
    }

    /// An acknowledgement counts whatever lease it has: the receiver has the message.
    pub(super) fn settle_delivery(&mut self, id: JobId, number: u32, report: Report) -> Settled {
        let Some(record) = self.state.jobs.get(&id) else { return Settled::Over };
        let partition = record.job.app.partition();
        let Some(due) = record.delivery else { return Settled::Over };
        if number > due.tries {
            // A report about an earlier job of this id.
            return Settled::Superseded;
        }
        if report == Report::Acknowledged {
            self.end_delivery(id);
            return Settled::Over;
        }
        if number < due.tries {
            return Settled::Superseded;
        }
        if due.failed == number {
            // The report was repeated.
            return Settled::Again { at: due.at };
        }
        if number >= self.rules.webhook_tries {
            self.end_delivery(id);
            return Settled::GivenUp;
        }
        let at = self.now.after(self.rules.webhook_wait(number));
        self.set_delivery(partition, id, Some(Due { at, failed: number, ..due }));
        Settled::Again { at }
    }

    /// Ends a delivery. The job's time to live begins again.
    pub(super) fn end_delivery(&mut self, id: JobId) {
        let Some(record) = self.state.jobs.get(&id) else { return };
        let Some(due) = record.delivery else { return };
        self.set_delivery(record.job.app.partition(), id, None);
        self.expire_after(id, due.ttl);
    }

    fn set_delivery(&mut self, partition: Partition, id: JobId, due: Option<Due>) {
        let Some(record) = self.state.jobs.get_mut(&id) else { return };
        let before = std::mem::replace(&mut record.delivery, due);
        let hooks = self.state.hooks.entry(partition).or_default();
        if let Some(before) = before {
            hooks.remove(&(before.at, id));
        }
        if let Some(due) = due {
            hooks.insert((due.at, id));
        }
        // An empty set and none are the same state.
        if hooks.is_empty() {
            self.state.hooks.remove(&partition);
        }
    }
}
