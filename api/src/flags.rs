//! The flags of the program `glimpse-api`.

use clap::Parser;
use glimpse_shared::{
    results::ResultsConfig,
    store::redis::RedisConfig,
    telemetry::{LogConfig, TraceConfig},
};

use crate::config::Config;

/// Serves the HTTP API of a fleet. It keeps no state, so any number of APIs can share one Redis.
#[derive(Parser)]
#[command(name = "glimpse-api", version)]
pub struct Flags {
    /// Those of every API.
    #[command(flatten)]
    pub api: Config,
    /// The fleet's Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
    /// Where finished pictures are kept.
    #[command(flatten)]
    pub results: ResultsConfig,
    /// What is logged.
    #[command(flatten)]
    pub log: LogConfig,
    /// Where traces are sent.
    #[command(flatten)]
    pub traces: TraceConfig,
}
