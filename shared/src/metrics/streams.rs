//! The event streams of an API.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The streams of server-sent events. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    open: Gauge,
    bytes: Counter,
}

impl Streams {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("glimpse_sse_clients", "Open streams of server-sent events", self.open.clone());
        registry.register(
            "glimpse_sse_bytes",
            "Bytes of server-sent events, before TLS and the framing of HTTP",
            self.bytes.clone(),
        );
    }

    /// A stream was opened. It counts as open until the value is dropped.
    pub fn open(&self) -> OpenStream {
        self.open.inc();
        OpenStream(self.clone())
    }
}

/// An open stream.
#[derive(Debug)]
pub struct OpenStream(Streams);

impl OpenStream {
    /// These many bytes are sent.
    pub fn sent(&self, bytes: usize) {
        self.0.bytes.inc_by(bytes as u64);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
