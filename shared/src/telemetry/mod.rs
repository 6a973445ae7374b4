//! Logs on standard error, and traces. Prompts and keys are in neither.
//!
//! ```text
//! logs.rs     flags and format of logs     export.rs   sends spans to a collector (OTLP)
//! context.rs  W3C's traceparent            spans.rs    the spans of requests, attempts and calls
//! stages.rs   the stages of an attempt: their histogram and their spans
//! ```
//!
//! The spans of `spans.rs` are those of the crate `tracing`. They have the target [`TARGET`], and no other span and no
//! log line is sent to a collector.

mod context;
mod export;
mod logs;
mod spans;
mod stages;

use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

pub use context::Traceparent;
pub use export::{TraceConfig, TraceError};
pub use logs::{LogConfig, LogFormat, filter};
pub use spans::{TARGET, after, attempt, call, end, fault, job, note, outcome, request};
pub use stages::Stages;

/// Starts logging. The first caller in a process wins.
pub fn init(config: &LogConfig) {
    // An error means that a subscriber is set already, for example by a test.
    let _ = tracing_subscriber::registry().with(logs::layer(config)).try_init();
}

/// The traces of a process, if a collector is named.
#[must_use = "spans that were not sent yet are lost without `end`"]
pub struct Telemetry(Option<export::Export>);

impl Telemetry {
    /// Starts logging and, if `traces` or the environment names a collector, tracing. `service` is the name of the
    /// program. Call it outside of a runtime, with a provider of rustls.
    ///
    /// # Errors
    /// If the address of the collector cannot be used. Logging has started then.
    pub fn start(logs: &LogConfig, traces: &TraceConfig, service: &'static str) -> Result<Self, TraceError> {
        let export = match export::Export::open(traces, service) {
            Ok(export) => export,
            Err(error) => {
                init(logs);
                return Err(error);
            }
        };
        // The spans first: their layer finds itself through the type below it.
        let spans = export.as_ref().map(|export| export.layer().with_filter(spans::only()));
        let _ = tracing_subscriber::registry().with(spans).with(logs::layer(logs)).try_init();
        if let Some(export) = &export {
            tracing::info!(collector = export.collector(), "sending traces");
        }
        Ok(Self(export))
    }

    /// Sends the spans that are left, and waits for it a short time. Call it last, outside of a runtime.
    pub fn end(self) {
        if let Some(export) = self.0 {
            export.end();
        }
    }
}
