//! W3C's trace context, as requests and jobs carry it.

use std::{collections::HashMap, fmt};

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt, TraceState},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};

/// The name of the header.
const HEADER: &str = "traceparent";

/// A place in a trace: the trace's id, a span's id, and whether the trace is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Traceparent(SpanContext);

impl Traceparent {
    /// Reads a header's value. `None` if it is malformed; W3C says that it is ignored then.
    pub fn parse(text: &str) -> Option<Self> {
        // The library reads shorter ids too.
        let shape = text.len() == 55
            && text.bytes().enumerate().all(|(at, byte)| match at {
                2 | 35 | 52 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            });
        if !shape {
            return None;
        }
        let header = HashMap::from([(HEADER.to_owned(), text.to_owned())]);
        let read = TraceContextPropagator::new().extract_with_context(&Context::new(), &header);
        let read = read.span().span_context().clone();
        read.is_valid().then_some(Self(read))
    }

    /// The beginning of a trace that nobody records. Its id is in the logs all the same.
    pub(super) fn unrecorded() -> Self {
        let ids = RandomIdGenerator::default();
        let flags = TraceFlags::NOT_SAMPLED;
        let state = TraceState::default();
        Self(SpanContext::new(ids.new_trace_id(), ids.new_span_id(), flags, true, state))
    }

    /// The place of a span; `None` for a span that is in no trace.
    pub(super) fn of(context: &Context) -> Option<Self> {
        let own = context.span().span_context().clone();
        own.is_valid().then_some(Self(own))
    }

    /// The context of a span below this place.
    pub(super) fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.0.clone())
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id()
    }

    /// The span.
    pub fn span_id(&self) -> SpanId {
        self.0.span_id()
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = u8::from(self.0.is_sampled());
        write!(f, "00-{}-{}-{recorded:02x}", self.trace_id(), self.span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        for flags in ["00", "01"] {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            assert_eq!(Traceparent::parse(&text).unwrap().to_string(), text);
        }
        let made = Traceparent::unrecorded();
        assert_eq!(Traceparent::parse(&made.to_string()).unwrap(), made);
        assert!(made.to_string().ends_with("-00"));
        assert_ne!(made, Traceparent::unrecorded());
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        for text in [
            "",
            "00-0",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }
}
