//! Where finished pictures are kept: inside the event of their job (the default), in a directory, or in a bucket of S3.
//!
//! A worker writes a picture under a [`Name`] that nobody can guess, and only then ends the job, so a result that is told
//! exists. The name says when it was written. So the APIs find the expired ones without any record, and each of them may
//! delete them: also those of a worker that died before it could end its job.

mod bucket;
mod config;
mod directory;
mod error;
mod kept;
mod name;
mod place;
mod swept;
mod term;

pub use config::ResultsConfig;
pub use error::ResultsError;
pub use kept::{Located, Results};
pub use name::{FILES, Name};
pub use place::Place;
pub use swept::Swept;
