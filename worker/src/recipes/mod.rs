//! The recipes of the pictures that this process makes.

mod digests;
mod of_job;
mod of_process;

pub use digests::{Digests, FileDigest};
pub use of_job::JobRecipe;
pub use of_process::{LoraFile, MetadataConfig, Recipes};
