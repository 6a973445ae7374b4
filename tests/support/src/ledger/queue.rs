//! The rules for submits, claims and retries.

use glimpse_shared::{
    event::EventKind,
    id::{JobId, Micros},
    job::{ANONYMOUS, Job, Status},
    store::{
        Claim, Lease, Quota, Retry, Rules, Submit,
        transition::{Effect, Fence},
    },
};

use super::{
    Ledger, Life,
    account::{Checked, kind},
    life::Holder,
    must,
};

impl Ledger {
    pub(super) fn submit(
        &mut self,
        job: &Job,
        quota: Quota,
        submit: &Submit,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        let known = self.lives.get(&job.id).map(|life| life.digest == job.digest);
        must(known != Some(true) || *submit == Submit::Duplicate, "the same submit again is a duplicate")?;
        must(known != Some(false) || *submit == Submit::Conflict, "another submit of that id is a conflict")?;
        let submitted = matches!(submit, Submit::Submitted { .. });
        let of_tenant = |life: &&Life| life.tenant == job.tenant && life.ended().is_none();
        let has = self.lives.values().filter(of_tenant).count() as u64;
        let has = if job.tenant == ANONYMOUS { 0 } else { has };
        let is_crowded = known.is_none() && quota.unfinished.is_some_and(|most| has >= most.get().into());
        match submit {
            Submit::Crowded { unfinished, .. } => {
                must(is_crowded && *unfinished == has, "a tenant was refused a place that it may have")?;
            }
            _ => must(!is_crowded, "a tenant got more places than it may have")?,
        }
        let refused = matches!(submit, Submit::Full { .. } | Submit::Crowded { .. });
        must(known.is_some() || submitted || refused, "a new job is no duplicate")?;
        if submitted {
            self.lives.insert(job.id, Life::new(job, now));
        }
        let queued = kind(&self.append(job.id, effects)?) == Some(EventKind::Queued);
        must(queued == submitted, "a job is queued once, with its submit")?;
        Ok(Some(job.id))
    }

    pub(super) fn claim(
        &mut self,
        rules: &Rules,
        claim: &Claim,
        lease: Option<&Lease>,
        effects: &[Effect],
        now: Micros,
    ) -> Checked {
        let Some(lease) = lease else {
            must(effects.is_empty(), "a claim that got nothing did something")?;
            return Ok(None);
        };
        let id = lease.job.id;
        let before = self.lives.get(&id).map_or(0, Life::attempt);
        let started = kind(&self.append(id, effects)?) == Some(EventKind::Started);
        let life = self.lives.get_mut(&id).ok_or("a lease of a job that was never accepted")?;
        must(life.ended().is_none(), "a lease of an ended job")?;
        must(lease.worker == claim.worker, "a lease in another worker's name")?;
        if started {
            must(life.needs.met_by(&claim.capabilities), "a worker got a job that it is not capable of")?;
            must(life.holder.is_none(), "two leases of one job")?;
            must(life.attempt() == before + 1, "an attempt was left out")?;
            if before == 0 {
                life.deadline = now.after(life.run_timeout);
            }
            life.holder = Some(Holder { worker: claim.worker.clone(), until: now.after(rules.lease) });
        }
        must(life.is_held_by(&Fence::from(lease)), "a lease of one who does not hold the job")?;
        must(lease.finish_early == life.finish_early, "a lease without the request to finish early")?;
        must(lease.checkpoint == life.checkpoint, "a lease without the newest good checkpoint")?;
        Ok(Some(id))
    }

    pub(super) fn retry(&mut self, id: JobId, retry: &Retry, effects: &[Effect], now: Micros) -> Checked {
        let Retry::Submitted { id: new, .. } = retry else {
            must(effects.is_empty(), "a retry that made no job did something")?;
            return Ok(None);
        };
        let old = self.lives.get(&id).ok_or("a job that was never accepted was retried")?;
        must(old.ended() == Some(Status::Failed), "a job that did not fail was retried")?;
        must(!self.lives.contains_key(new), "a job was retried twice")?;
        let life = old.retried(now);
        self.lives.insert(*new, life);
        let queued = kind(&self.append(*new, effects)?) == Some(EventKind::Queued);
        must(queued, "a retried job waits")?;
        Ok(Some(*new))
    }
}
