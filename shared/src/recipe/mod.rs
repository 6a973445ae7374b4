//! What a picture was made from, as the picture itself carries it and as a branch of a job refers to it.
//!
//! A recipe has no secrets: no keys, no tenant, no webhook, no queries of URLs, and no input pictures. It names an input
//! picture by its digest, so that it says which one is needed.

mod again;
mod exif;
mod form;
mod metadata;
mod parameters;
mod picture;
mod read_parameters;
mod sampler_names;
mod xmp;

pub use again::NeededPicture;
pub use form::{LoraRecipe, MAX_RECIPE_BYTES, ModelRecipe, Recipe, VERSION};
pub use metadata::Metadata;
pub use picture::{FoundRecipe, NoRecipe};
