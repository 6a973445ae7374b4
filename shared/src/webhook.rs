//! Webhooks: a job may name an address that is called when the job has ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, Micros};

/// The longest URL of a webhook, in bytes.
pub const LONGEST_WEBHOOK_URL: usize = 2048;

/// The address that is called when a job has ended, and the form of the call.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Webhook {
    /// The address: an `http` or `https` URL, at most [`LONGEST_WEBHOOK_URL`] bytes. It may contain a secret, so it is
    /// not shown or logged.
    pub url: String,
    /// The form of the call.
    pub form: WebhookForm,
    /// The address under which the client that submitted the job reached an API, as `https://example.com`: the beginning
    /// of the URLs in the body.
    #[serde(default)]
    pub origin: String,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({} bytes, {:?})", self.url.len(), self.form)
    }
}

/// The form of a call: its body and its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookForm {
    /// fal's: the result in fal's envelope, with fal's signature.
    Fal,
    /// Our own: the job as `GET /v1/jobs/{id}` shows it, with a signature as Standard Webhooks defines it.
    Own,
}

/// A leased delivery: the webhook of an ended job that must be called now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The job.
    pub job: JobId,
    /// The number of the try, from 1. It is the fence of the report.
    pub number: u32,
    /// What to call.
    pub webhook: Webhook,
    /// The tenant that submitted the job.
    pub tenant: String,
    /// The job's trace context.
    pub traceparent: Option<String>,
}

/// The result of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The receiver answered 2xx.
    Acknowledged,
    /// It answered something else or nothing, or could not be called.
    Failed,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The delivery is over: acknowledged, or given up before, or its job is gone.
    Over,
    /// This was the last try. The delivery is over.
    GivenUp,
    /// The next try is due at this time.
    Again {
        /// When.
        at: Micros,
    },
    /// A newer try was leased: the report changed nothing.
    Superseded,
}
