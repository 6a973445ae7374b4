//! Commands of a worker for a job that it holds.

use super::{
    backend::Backend,
    keys::PartitionKeys,
    queue::{BEYOND_CLOCK, exhausted_around, millis},
    scripts::{CHECKPOINT, FINISH, PUBLISH, RELEASE, RENEW, ScriptReply, unexpected},
};
use crate::{
    error::StoreResult,
    id::Seq,
    job::{Release, Status},
    store::{Checkpoint, Ending, Finish, Hold, Lease, Preview, Released},
};

impl Backend {
    fn keys_of(&self, lease: &Lease) -> PartitionKeys {
        self.keys.of_app(&lease.job.app)
    }

    pub(super) async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        let answer = match checkpoint {
            Some(checkpoint) => self.renew_with(lease, checkpoint).await?,
            None => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None => self.renew_alone(lease).await?,
        };
        match answer {
            ScriptReply::Held { finish_early, .. } => Ok(Hold::holding(finish_early)),
            ScriptReply::Cancelled => Ok(Hold::Cancelled),
            ScriptReply::Lost => Ok(Hold::Lost),
            other => unexpected(other),
        }
    }

    async fn renew_alone(&self, lease: &Lease) -> StoreResult<ScriptReply> {
        let keys = self.keys_of(lease);
        let call = RENEW
            .keys([keys.job(lease.job.id), keys.due()])
            .now(self.now())
            .value(lease.job.id)
            .value(lease.attempt)
            .text(lease.worker.as_str())
            .value(self.rules.lease.as_micros());
        call.run(&self.nodes).await
    }

    /// `None` if Redis is full; then nothing is written. The lease must still be renewed; the checkpoint is optional.
    async fn renew_with(&self, lease: &Lease, checkpoint: &Checkpoint) -> StoreResult<Option<ScriptReply>> {
        let keys = self.keys_of(lease);
        let call = CHECKPOINT
            .keys([keys.job(lease.job.id), keys.due(), keys.checkpoint(lease.job.id)])
            .now(self.now())
            .value(lease.job.id)
            .value(lease.attempt)
            .text(lease.worker.as_str())
            .value(self.rules.lease.as_micros())
            .bytes(checkpoint.bytes());
        call.run_if_room(&self.nodes).await
    }

    pub(super) async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        let partial = preview.partial.map(|index| index.to_string());
        loop {
            let keys = self.keys_of(lease);
            let frame = preview.frame(lease.seq.next());
            let call = PUBLISH
                .keys([keys.job(lease.job.id), keys.log(lease.job.id), keys.due()])
                .now(self.now())
                .value(lease.job.id)
                .value(lease.attempt)
                .text(lease.worker.as_str())
                .value(self.rules.lease.as_micros())
                .value(self.rules.previews_kept)
                .value(frame.seq)
                .value(preview.step)
                .text(partial.as_deref().unwrap_or_default())
                .bytes(frame.bytes());
            let Some(answer) = call.run_if_room(&self.nodes).await? else {
                tracing::warn!(job_id = %lease.job.id, "Redis is full: a preview was not written");
                return Ok(Hold::Held);
            };
            match answer {
                ScriptReply::Held { seq, finish_early } => {
                    lease.seq = seq;
                    return Ok(Hold::holding(finish_early));
                }
                ScriptReply::Cancelled => return Ok(Hold::Cancelled),
                ScriptReply::Lost => return Ok(Hold::Lost),
                // As in `finish`.
                ScriptReply::Renumber { next } => lease.seq = Seq(next.0.saturating_sub(1)),
                other => return unexpected(other),
            }
        }
    }

    pub(super) async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        loop {
            let keys = self.keys_of(lease);
            let frame = ending.frame(lease.seq.next());
            let call = FINISH
                .keys([
                    keys.job(lease.job.id),
                    keys.log(lease.job.id),
                    keys.queue(&lease.job.app),
                    keys.due(),
                    keys.checkpoint(lease.job.id),
                    keys.pace(&lease.job.app),
                    keys.hooks(),
                ])
                .now(self.now())
                .value(lease.job.id)
                .value(lease.attempt)
                .text(lease.worker.as_str())
                .text(ending.status().as_str())
                .value(frame.seq)
                .bytes(frame.bytes())
                .value(millis(self.rules.ended_ttl))
                .value(self.rules.pace_ttl.as_micros())
                .value(millis(self.rules.pace_ttl + BEYOND_CLOCK))
                .value(millis(self.rules.webhook_ttl));
            match call.run(&self.nodes).await? {
                ScriptReply::Finished => {
                    self.metrics.jobs.ended(&lease.job.app, ending.status());
                    return Ok(Finish::Finished);
                }
                ScriptReply::Cancelled => return Ok(Finish::Cancelled),
                ScriptReply::Lost => return Ok(Finish::Lost),
                // Only this worker writes while it holds the job, so the next frame has the right number.
                ScriptReply::Renumber { next } => lease.seq = Seq(next.0.saturating_sub(1)),
                other => return unexpected(other),
            }
        }
    }

    pub(super) async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        let keys = self.keys_of(lease);
        let (kind, (head, tail)) = match release {
            Release::Drain => ("drain", Default::default()),
            Release::Fault(reason) => ("fault", exhausted_around(reason)),
        };
        let call = RELEASE
            .keys([
                keys.job(lease.job.id),
                keys.log(lease.job.id),
                keys.queue(&lease.job.app),
                keys.due(),
                keys.wake(&lease.job.app),
                keys.dead(),
                keys.checkpoint(lease.job.id),
                keys.looking(&lease.job.app),
                keys.hooks(),
            ])
            .now(self.now())
            .value(lease.job.id)
            .value(lease.attempt)
            .text(lease.worker.as_str())
            .text(kind)
            .value(self.rules.attempts)
            .text(&head)
            .text(&tail);
        match self.with_dead_list_limits(call).run(&self.nodes).await? {
            ScriptReply::Released => Ok(Released::Released),
            ScriptReply::Failed => {
                self.metrics.jobs.ended(&lease.job.app, Status::Failed);
                Ok(Released::Released)
            }
            ScriptReply::Cancelled => Ok(Released::Cancelled),
            ScriptReply::Lost => Ok(Released::Lost),
            other => unexpected(other),
        }
    }
}
