//! Logs: on standard error, as text or JSON. Prompts and keys are never logged at info.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

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
pub fn filter(text: &str) -> Result<String, String> {
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

/// Starts logging. The first caller in a process wins.
pub fn init(config: &LogConfig) {
    let filter = EnvFilter::try_new(quieted(&config.log)).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    // An error means that a subscriber is set already, for example by a test.
    let _ = match config.log_format {
        LogFormat::Text => {
            registry.with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_repeats_our_errors_is_quiet_unless_it_is_named() {
        assert_eq!(quieted("info"), "rustls_platform_verifier=off,info");
        assert_eq!(quieted("warn,rustls_platform_verifier=debug"), "warn,rustls_platform_verifier=debug");
        for text in ["info", "glimpse_api=debug", "off"] {
            assert!(filter(&quieted(text)).is_ok(), "{text}");
        }
    }
}
