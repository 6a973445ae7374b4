//! Logs: on standard error, as text or JSON. Prompts and keys are never logged at info.

use std::{fmt::Result, io::IsTerminal};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{Format, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use super::spans::TARGET;

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// The logging flags of every binary.
#[derive(Debug, Clone, clap::Args)]
pub struct LogConfig {
    /// The format of log lines, on standard error.
    #[arg(long, env = "GLIMPSE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: a level, or `target=level,…` as in tracing's EnvFilter.
    #[arg(long, env = "GLIMPSE_LOG", default_value = "info", value_parser = filter)]
    pub log: String,
}

/// Parses a filter.
///
/// # Errors
/// If the filter is invalid.
pub fn filter(text: &str) -> std::result::Result<String, String> {
    let wrong = |error| format!("{error}: write a level (error, warn, info, debug, trace) or target=level,…");
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(wrong)
}

/// A library that logs each certificate that it refuses as an error. The error of the connection says the same.
const VERIFIER: &str = "rustls_platform_verifier";

/// The filter without the lines of [`VERIFIER`], unless it names it.
fn quieted(filter: &str) -> String {
    match filter.contains(VERIFIER) {
        true => filter.to_owned(),
        false => format!("{VERIFIER}=off,{filter}"),
    }
}

/// Writes the log.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    config: &LogConfig,
) -> Box<dyn Layer<S> + Send + Sync> {
    // Lines as JSON have the ids of the spans of `spans.rs`. Lines as text do not show these spans.
    let spans = match config.log_format {
        LogFormat::Text => "off",
        LogFormat::Json => "info",
    };
    let filter = EnvFilter::try_new(format!("{},{TARGET}={spans}", quieted(&config.log)));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    match config.log_format {
        LogFormat::Text => {
            fmt::layer().with_ansi(colours).with_writer(std::io::stderr).with_filter(filter).boxed()
        }
        LogFormat::Json => json(std::io::stderr).with_filter(filter).boxed(),
    }
}

fn json<S, W>(writer: W) -> fmt::Layer<S, JsonFields, WithIds, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    let line = fmt::format().json().flatten_event(true).with_current_span(false).with_span_list(false);
    fmt::layer().json().event_format(WithIds(line)).with_writer(writer)
}

/// The fields of a job's lines.
const IDS: [&str; 2] = ["job_id", "trace_id"];

/// Lines of JSON with the ids of the job and of its trace, from the innermost span that has them.
struct WithIds(Format<Json>);

impl<S, N> FormatEvent<S, N> for WithIds
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else { return out.write_str(&line) };
        let mut missing = IDS.to_vec();
        missing.retain(|id| event.metadata().fields().field(id).is_none());
        out.write_char('{')?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| &*fields.fields);
            let Ok(fields) = serde_json::from_str::<Map<String, Value>>(fields) else { continue };
            for (name, value) in fields {
                if let Some(at) = missing.iter().position(|id| *id == name) {
                    missing.swap_remove(at);
                    write!(out, "\"{name}\":{value},")?;
                }
            }
        }
        out.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::spans;
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_json_has_the_ids_of_its_job_and_trace() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()));
        let id = crate::id::JobId::new(&"glimpse/demo".parse().unwrap());
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("no job");
            let (request, _) = spans::request("POST /v1/jobs", Some(traceparent));
            let _in = request.enter();
            tracing::info!("not known yet");
            spans::job(id);
            let _call = spans::call("fetch", Some("example.com")).entered();
            tracing::warn!(bytes = 3, "fetched");
            tracing::info!(job_id = "another", "named");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Map<String, Value>> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids = |line: &Map<String, Value>| IDS.map(|name| line.get(name).cloned().unwrap_or_default());
        let (id, trace) = (Value::from(id.to_string()), Value::from("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(ids(&lines[0]), [Value::Null, Value::Null]);
        assert_eq!(ids(&lines[1]), [Value::Null, trace.clone()]);
        assert_eq!(ids(&lines[2]), [id, trace.clone()]);
        assert_eq!((&lines[2]["message"], &lines[2]["bytes"]), (&"fetched".into(), &3.into()));
        assert_eq!(ids(&lines[3]), ["another".into(), trace]);
        assert!(!text.contains("example.com") && text.matches("another").count() == 1, "{text}");
    }

    #[test]
    fn a_library_that_repeats_our_errors_is_quiet_unless_it_is_named() {
        assert_eq!(quieted("info"), "rustls_platform_verifier=off,info");
        assert_eq!(quieted("warn,rustls_platform_verifier=debug"), "warn,rustls_platform_verifier=debug");
        for text in ["info", "glimpse_api=debug", "off"] {
            assert!(filter(&quieted(text)).is_ok(), "{text}");
        }
    }
}
