//! The spans of requests, attempts and calls. They say what a program does for which job, and nothing of what a client
//! has sent.
//!
//! They are in the JSON log too: its lines have the ids of the spans that they are in.

use opentelemetry::{
    Value,
    trace::{Status, TraceContextExt},
};
use tracing::{Level, Metadata, Span, field, info_span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterFn, filter_fn};

use super::context::Traceparent;
use crate::{
    id::{JobId, WorkerId},
    job::Job,
};

/// The target of these spans.
pub const TARGET: &str = "glimpse::job";

/// Lets these spans through, and nothing else.
pub(super) fn only() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    fn is_ours(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == TARGET && *metadata.level() <= Level::INFO
    }
    filter_fn(is_ours as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

/// The span of a request: `name` is its method and route. It continues the trace of the request's traceparent, if it has
/// one. Also returns what its job carries.
pub fn request(name: &str, traceparent: Option<&str>) -> (Span, Traceparent) {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = name,
        otel.kind = "server",
        job_id = field::Empty,
        trace_id = field::Empty,
    );
    let place = join(&span, traceparent);
    (span, place)
}

/// The span of a worker's attempt at a job.
pub fn attempt(job: &Job, attempt: u32, worker: &WorkerId) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "attempt",
        otel.kind = "consumer",
        job_id = %job.id,
        trace_id = field::Empty,
        app = %job.app,
        attempt,
        worker_id = %worker,
        outcome = field::Empty,
    );
    join(&span, job.traceparent.as_deref());
    span
}

/// The span of a call for a job that has ended: a try to call its webhook.
pub fn after(job: JobId, what: &'static str, traceparent: Option<&str>) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "after",
        otel.name = what,
        otel.kind = "client",
        job_id = %job,
        trace_id = field::Empty,
        outcome = field::Empty,
    );
    join(&span, traceparent);
    span
}

/// The span of a call to another server, below the current span. `host` is its name, without anything else of the URL.
pub fn call(what: &'static str, host: Option<&str>) -> Span {
    info_span!(target: TARGET, "call", otel.name = what, otel.kind = "client", server.address = host)
}

/// Puts a new span into a trace, and returns its place there. A span that is not recorded has the place of its parent.
fn join(span: &Span, parent: Option<&str>) -> Traceparent {
    let parent = parent.and_then(Traceparent::parse);
    if let Some(parent) = &parent {
        // Without a collector there is no layer that could set it.
        let _ = span.set_parent(parent.context());
    }
    let own = Traceparent::of(&span.context());
    let place = own.or(parent).unwrap_or_else(Traceparent::unrecorded);
    span.record("trace_id", field::display(place.trace_id()));
    place
}

/// The current request is about this job.
pub fn job(id: JobId) {
    Span::current().record("job_id", field::display(id));
}

/// Adds an attribute to a span, for the collector alone.
pub fn note(span: &Span, name: &'static str, value: impl Into<Value>) {
    span.set_attribute(name, value);
}

/// How the current attempt or call ended: a word, and whether it is a fault.
pub fn outcome(word: &'static str, is_fault: bool) {
    let span = Span::current();
    span.record("outcome", word);
    if is_fault {
        fault(&span, word);
    }
}

/// Marks a span as failed.
pub fn fault(span: &Span, why: &'static str) {
    span.set_status(Status::error(why));
}

/// Ends a span now. Without this it ends when its last clone is dropped, which may be after the process has sent its
/// last spans.
pub fn end(span: &Span) {
    span.context().span().end();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn without_a_collector_a_job_carries_what_the_request_has() {
        assert_eq!(request("POST /v1/jobs", Some(SENT)).1.to_string(), SENT);
        let begun = [None, Some("00-0")].map(|sent| request("POST /v1/jobs", sent).1.to_string());
        assert_ne!(begun[0], begun[1]);
        for traceparent in begun {
            assert!(
                Traceparent::parse(&traceparent).is_some() && traceparent.ends_with("-00"),
                "{traceparent}"
            );
        }
    }

    #[test]
    fn no_other_spans_go_to_a_collector() {
        let spans = tracing_subscriber::registry().with(Counted::default().with_filter(only()));
        let seen = spans.downcast_ref::<Counted>().unwrap().clone();
        tracing::subscriber::with_default(spans, || {
            let (request, _) = request("POST /v1/jobs", None);
            let _in = request.enter();
            let _ours = call("fetch", None);
            let _other = info_span!("other", prompt = "a heart");
            tracing::info!(prompt = "a heart", "a line");
            tracing::info!(target: TARGET, "a line");
            let _detail = tracing::debug_span!(target: TARGET, "detail");
        });
        assert_eq!(*seen.0.lock().unwrap(), ["request", "call"]);
    }

    /// The names of the spans and events that came.
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<Vec<&'static str>>>);

    impl<S: tracing::Subscriber> Layer<S> for Counted {
        fn on_new_span(
            &self,
            attributes: &tracing::span::Attributes<'_>,
            _: &tracing::span::Id,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            self.0.lock().unwrap().push(attributes.metadata().name());
        }

        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().name());
        }
    }
}
