//! The flags of the place where pictures are kept. Each field defines its flag, its environment variable and its help
//! text.

use std::time::Duration;

use super::{error::ResultsError, kept::Results, place::Place};

/// The longest time to live: a year.
const LONGEST: u64 = 365 * 24 * 3600;

/// Where finished pictures are kept, and how long. All processes of a fleet name the same place.
#[derive(Debug, Clone, clap::Args)]
pub struct ResultsConfig {
    /// Where finished pictures are kept: a directory that all workers and APIs share, or a bucket of S3. The result of a
    /// job then has URLs of its pictures. [default: inside the result, as data URIs]
    #[arg(long, env = "GLIMPSE_RESULTS", value_name = "DIR|s3://BUCKET/PREFIX")]
    pub results: Option<Place>,

    /// Seconds that a finished picture is kept in --results; then an API deletes it.
    #[arg(long, env = "GLIMPSE_RESULTS_TTL", value_name = "SECONDS", default_value_t = 24 * 3600,
        value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    pub results_ttl: u64,
}

impl ResultsConfig {
    /// Opens the place, if there is one: creates its directory, writes a picture, lists it and deletes it.
    ///
    /// # Errors
    /// If one of these fails.
    pub async fn open(&self) -> Result<Option<Results>, ResultsError> {
        match &self.results {
            Some(place) => {
                Results::open(place.clone(), Duration::from_secs(self.results_ttl)).await.map(Some)
            }
            None => Ok(None),
        }
    }
}
