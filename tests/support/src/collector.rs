//! A collector of traces: it receives OTLP as protobuf over HTTP, and keeps the spans.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{span::SpanKind, status::StatusCode},
};
use prost::Message;

use crate::{WebhookAnswer, WebhookReceiver};

/// A running collector.
pub struct Collector(WebhookReceiver);

/// A span as it was received. Ids are in hex.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedSpan {
    /// The program.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above it; empty if there is none.
    pub parent: String,
    /// Whether it is the server's side of a request.
    pub is_server: bool,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of its events, by name.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// Nanoseconds since the epoch.
    pub time: std::ops::RangeInclusive<u64>,
    /// Whether it is marked as failed.
    pub failed: bool,
}

impl ReceivedSpan {
    /// The text of an attribute; empty if there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// Listens on a free port of this machine.
    pub fn start() -> Self {
        // An empty body is a message of protobuf without fields.
        Self(WebhookReceiver::start(|_, _| WebhookAnswer::Body(String::new())))
    }

    /// The value of `--otlp-endpoint`.
    pub fn endpoint(&self) -> String {
        self.0.url("")
    }

    /// The bodies of all requests.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.0.calls().into_iter().map(|call| call.body).collect()
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans = Vec::new();
        for call in self.0.calls() {
            assert_eq!((&*call.path, call.header("content-type")), ("/v1/traces", "application/x-protobuf"));
            let request = ExportTraceServiceRequest::decode(&*call.body).expect("a request of OTLP");
            for of_resource in request.resource_spans {
                let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
                for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
                    spans.push(ReceivedSpan {
                        service: resource["service.name"].clone(),
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        is_server: span.kind() == SpanKind::Server,
                        attributes: texts(&span.attributes),
                        events: span
                            .events
                            .iter()
                            .map(|one| (one.name.clone(), texts(&one.attributes)))
                            .collect(),
                        time: span.start_time_unix_nano..=span.end_time_unix_nano,
                        failed: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
                        name: span.name,
                    });
                }
            }
        }
        spans
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|one| (one.key.clone(), text(one.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}
