//! A request for pictures, before ([`ImageRequest`]) and after ([`ImageSpec`]) its check.
//!
//! The API checks a request once. After that it is an [`ImageSpec`], which has only valid values. The rules are in the
//! table of `docs/protocol.md`.

mod alpha;
mod bounds;
mod canny;
mod check;
mod controlnet;
mod data_uri;
mod dialect;
mod embedding;
mod explicit;
mod fal;
mod field_error;
mod fields;
mod gif;
mod image_metadata;
mod image_request;
mod input_image;
mod jpeg;
mod kind;
pub mod limits;
mod lora;
mod lora_path;
mod msgpack;
mod object;
mod offer;
mod openai;
mod output;
mod own_sampler;
mod partials;
mod parts;
mod pictures;
mod png;
mod presets;
mod sampler_arguments;
mod sampling;
mod scheduler_config;
mod scheduler_names;
mod seeds;
mod size;
mod spec;
mod webp;
mod wire_fields;

pub use bounds::{MAX_IMAGES, MAX_PIXELS, MAX_SEED, MIN_PIXELS};
pub use canny::Canny;
pub use controlnet::{CONTROLNETS, ControlNet};
pub use dialect::{Defaults, Dialect, Endpoint, Names, Task, Unknown};
pub use embedding::{EMBEDDINGS, Embedding};
pub use explicit::InputPictures;
pub use field_error::{FieldError, Loc, sent};
pub use image_metadata::ImageMetadata;
pub use image_request::{ControlNetRequest, EmbeddingRequest, ImageRequest, LoraRequest};
pub use input_image::{InputFormat, InputImage, InputImageError, MAX_INPUT_IMAGE_BYTES};
pub use lora::Lora;
pub use lora_path::{HubLora, LoraName, LoraPath, LoraSource, LoraUrl, NoLoraPath};
pub use msgpack::{Unpacked, parse_msgpack};
pub use object::parse_object;
pub use offer::Offer;
pub use output::{OutputFormat, PreviewSource};
pub use own_sampler::complete_sampler;
pub use partials::Partials;
pub use parts::Hires;
pub use pictures::{Fetched, NotFetched, PictureSource, picture_sources};
pub use scheduler_names::NamedScheduler;
pub use spec::ImageSpec;
