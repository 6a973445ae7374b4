//! Sends spans to a collector: OTLP, as protobuf over HTTP.
//!
//! Threads of their own keep the spans that wait and send them. A collector that is slow or dead costs spans, and
//! never time of a job. The standard variables of OpenTelemetry set the rest: `OTEL_SERVICE_NAME`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_SCHEDULE_DELAY`, ….

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{global, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};
use reqwest::{Url, blocking::Client, redirect};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// The name of what makes the spans.
pub(super) const SCOPE: &str = "glimpse";
/// OpenTelemetry's own variable for the address.
const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The path of traces below the address.
const PATH: &str = "v1/traces";
/// The timeout of a connection and of a request, with its retries.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long the end of a process waits for the last spans.
const END: Duration = Duration::from_secs(3);

/// The tracing flag of every program that serves.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TraceConfig {
    /// Sends traces to this collector (OTLP over HTTP, protobuf): `http://HOST:4318`. [default: none]
    #[arg(long, env = "GLIMPSE_OTLP_ENDPOINT", value_name = "URL", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
}

/// Why traces cannot be sent. It does not repeat the address, which may contain a password.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address cannot be used.
    #[error("the address in {place} {why}")]
    Address {
        /// The flag or the variable.
        place: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// The client cannot be made.
    #[error("cannot send traces: {0}; without --otlp-endpoint none are sent")]
    Client(String),
}

/// The exporter of a process.
pub(super) struct Export {
    provider: SdkTracerProvider,
    collector: String,
}

impl Export {
    /// `None` if no collector is named.
    ///
    /// # Errors
    /// If its address cannot be used, or the system has no trusted certificates for `https`.
    pub(super) fn open(config: &TraceConfig, service: &'static str) -> Result<Option<Self>, TraceError> {
        let standard = || env::var(STANDARD).ok().map(|url| (STANDARD, url));
        let flag = config.otlp_endpoint.clone().map(|url| ("--otlp-endpoint", url));
        let Some((place, url)) = flag.or_else(standard) else { return Ok(None) };
        let url = address(&url).map_err(|why| TraceError::Address { place, why })?;
        let broken = |error: &dyn std::fmt::Display| TraceError::Client(error.to_string());
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client(&url).map_err(|error| broken(&error))?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_timeout(TIMEOUTS.1)
            .build()
            .map_err(|error| broken(&error))?;
        let collector = url.origin().ascii_serialization();
        let exporter = Watched { exporter, collector: collector.clone(), is_failing: AtomicBool::new(false) };
        let resource = Resource::builder();
        let resource = match env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name(service),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Some(Self { provider, collector }))
    }

    /// Takes the spans of the crate `tracing`.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
    }

    /// Scheme, host and port.
    pub(super) fn collector(&self) -> &str {
        &self.collector
    }

    pub(super) fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END) {
            tracing::warn!(collector = self.collector, %error, "the last spans of traces were not sent");
        }
    }
}

/// The address of a collector's traces.
fn address(url: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(url).map_err(|_| "is not a URL: write http://HOST:PORT")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("does not begin with http:// or https:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password: set OTEL_EXPORTER_OTLP_HEADERS instead");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment: write http://HOST:PORT");
    }
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}/{PATH}"));
    }
    Ok(url)
}

fn client(url: &Url) -> reqwest::Result<Client> {
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(TIMEOUTS.0)
        .timeout(TIMEOUTS.1)
        .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")));
    match url.scheme() {
        "https" => client.build(),
        // It needs no certificates, and the system may have none.
        _ => client.tls_certs_only([]).build(),
    }
}

/// An exporter that logs the first of its failures, and its recovery.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    collector: String,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let collector = &self.collector;
        match (&sent, self.is_failing.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(collector, %error, "traces cannot be sent: their spans are lost until the collector answers; jobs go on");
            }
            (Ok(()), true) => tracing::info!(collector, "traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing::Level;
    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::*;

    /// Fails as often as it says.
    #[derive(Debug)]
    struct Failing(Mutex<Vec<bool>>);

    impl SpanExporter for Failing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.lock().unwrap().remove(0) {
                true => Err(OTelSdkError::InternalFailure("refused".to_owned())),
                false => Ok(()),
            }
        }
    }

    /// The levels of the events that came.
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Levels {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn a_collector_that_is_gone_is_logged_once() {
        let answers = [true, true, true, false, false, true, true];
        let exporter = Watched {
            exporter: Failing(Mutex::new(answers.to_vec())),
            collector: "http://localhost:4318".to_owned(),
            is_failing: AtomicBool::new(false),
        };
        let levels = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Levels(Arc::clone(&levels)));
        tracing::subscriber::with_default(subscriber, || {
            for failed in answers {
                let sent = futures::executor::block_on(exporter.export(Vec::new()));
                assert_eq!(sent.is_err(), failed);
            }
        });
        assert_eq!(*levels.lock().unwrap(), [Level::WARN, Level::INFO, Level::WARN]);
    }

    #[test]
    fn the_address_of_a_collector_is_its_base_or_that_of_its_traces() {
        for (given, used) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
            ("https://collector.example/v1/traces", "https://collector.example/v1/traces"),
        ] {
            assert_eq!(address(given).unwrap().as_str(), used);
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_and_not_repeated() {
        for wrong in [
            "localhost:4318",
            "4318",
            "grpc://swordfish:4317",
            "http://glimpse:swordfish@collector.example:4318",
            "http://swordfish@collector.example",
            "http://collector.example:4318/?key=swordfish",
        ] {
            let config = TraceConfig { otlp_endpoint: Some(wrong.to_owned()) };
            let error = Export::open(&config, "glimpse").err().unwrap().to_string();
            assert!(error.starts_with("the address in --otlp-endpoint "), "{wrong}: {error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
    }
}
