//! Deliveries: the calls of the webhooks of ended jobs.

use serde::{Deserialize, Serialize};

use super::{
    backend::Backend,
    scripts::{DELIVER, REPORT, ScriptReply, unexpected},
    shape::bad_json,
};
use crate::{
    error::{StoreError, StoreResult},
    event::ascii_json,
    id::{JobId, Partition},
    job::Job,
    webhook::{Delivery, Report, Settled, Webhook},
};

/// The field `webhook` of the job's hash: what a delivery needs of the job, because the whole job may have pictures.
#[derive(Serialize, Deserialize)]
struct StoredWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    tenant: String,
    /// A job of the previous release has none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

/// The field `webhook` of a new job.
pub(super) fn stored_webhook(job: &Job) -> String {
    let stored = |webhook: &Webhook| {
        let (tenant, traceparent) = (job.tenant.clone(), job.traceparent.clone());
        ascii_json(&StoredWebhook { webhook: webhook.clone(), tenant, traceparent })
    };
    job.webhook.as_ref().map_or_else(String::new, stored)
}

/// Reads the reply of `deliver`.
pub(super) fn delivery(reply: ScriptReply) -> StoreResult<Option<Delivery>> {
    match reply {
        ScriptReply::Deliver { id, number, webhook } => {
            let StoredWebhook { webhook, tenant, traceparent } =
                serde_json::from_str(&webhook).map_err(|error| bad_json("a webhook", &error))?;
            Ok(Some(Delivery { job: id, number, webhook, tenant, traceparent }))
        }
        ScriptReply::None => Ok(None),
        other => unexpected(other),
    }
}

impl Backend {
    /// Asks all partitions in parallel. An unreachable node does not stop the deliveries of the others.
    pub(super) async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        let (mut taken, mut failure) = (Vec::new(), None);
        let all = Partition::all().map(|partition| self.take_delivery(partition));
        for (partition, answer) in Partition::all().zip(futures::future::join_all(all).await) {
            match answer {
                Ok(delivery) => taken.extend(delivery),
                // Data of a newer version, for example. Its lease passes, and so do its tries.
                Err(error @ StoreError::Corrupt(_)) => {
                    self.unreadable
                        .skipped(&format!("an entry of {}", self.keys.of(partition).hooks()), &error);
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.filter(|_| taken.is_empty()).map_or(Ok(taken), Err)
    }

    async fn take_delivery(&self, partition: Partition) -> StoreResult<Option<Delivery>> {
        let keys = self.keys.of(partition);
        let (jobs, logs) = (keys.jobs(), keys.logs());
        let call = DELIVER
            .keys([keys.hooks()])
            .now(self.now())
            .value(self.rules.webhook_lease.as_micros())
            .value(self.rules.webhook_tries)
            .text(&jobs)
            .text(&logs);
        delivery(call.run(&self.nodes).await?)
    }

    pub(super) async fn settle_delivery(
        &self,
        id: JobId,
        number: u32,
        report: Report,
    ) -> StoreResult<Settled> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(Settled::Over) };
        let word = match report {
            Report::Acknowledged => "acknowledged",
            Report::Failed => "failed",
        };
        let call = REPORT
            .keys([keys.job(id), keys.log(id), keys.hooks()])
            .now(self.now())
            .value(id)
            .value(number)
            .text(word)
            .value(self.rules.webhook_tries)
            .value(self.rules.webhook_wait(number).as_micros());
        match call.run(&self.nodes).await? {
            ScriptReply::Settled(settled) => Ok(settled),
            other => unexpected(other),
        }
    }
}
