//! The flags of the program `glimpse-worker`.

use std::net::SocketAddr;

use clap::Parser;
use glimpse_shared::{
    results::ResultsConfig,
    store::redis::RedisConfig,
    telemetry::{LogConfig, TraceConfig},
};

use crate::config::{FleetConfig, ModelConfig};

/// Claims jobs from a fleet's Redis and makes their pictures.
#[derive(Debug, Parser)]
#[command(name = "glimpse-worker", version)]
pub struct Cli {
    /// The fleet's Redis.
    #[command(flatten)]
    pub redis: RedisConfig,
    /// The model.
    #[command(flatten)]
    pub model: ModelConfig,
    /// The worker's part in a fleet.
    #[command(flatten)]
    pub fleet: FleetConfig,
    /// Where finished pictures are kept.
    #[command(flatten)]
    pub results: ResultsConfig,
    /// The address to serve `/health/live`, `/health/ready` and `/metrics` on. [default: none]
    #[arg(long, env = "GLIMPSE_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// What is logged.
    #[command(flatten)]
    pub log: LogConfig,
    /// Where traces are sent.
    #[command(flatten)]
    pub traces: TraceConfig,
}
