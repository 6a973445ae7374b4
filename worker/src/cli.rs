//! The flags of the program `glimpse-worker`.

use std::net::SocketAddr;

use clap::Parser;
use glimpse_shared::{
    results::ResultsConfig,
    store::redis::RedisConfig,
    telemetry::{LogConfig, TraceConfig},
};

use crate::{
    config::{FleetConfig, ModelConfig},
    picture_hook::PictureHookFlags,
    recipes::MetadataConfig,
};

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
    /// The operator's endpoint that sees finished pictures first.
    #[command(flatten)]
    pub hook: PictureHookFlags,
    /// Where finished pictures are kept.
    #[command(flatten)]
    pub results: ResultsConfig,
    /// What finished pictures say of how they were made.
    #[command(flatten)]
    pub metadata: MetadataConfig,
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
