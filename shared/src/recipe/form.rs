//! The form of a recipe.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    id::App,
    request::{ImageSpec, InputPictures, complete_sampler},
};

/// The version of the form that this program writes.
pub const VERSION: u32 = 1;
/// The most bytes of a recipe as JSON. A picture with a longer one carries none.
pub const MAX_RECIPE_BYTES: usize = 60 * 1024;

/// What a picture was made from. Members that this version does not know are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recipe {
    /// The version of the form: 1.
    pub version: u32,
    /// The app whose worker made the picture; absent if no fleet made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub app: Option<App>,
    /// The request in the form of `POST /v1/jobs`, with the seed and every setting of the sampler. An input picture is
    /// named by its digest.
    pub request: Map<String, Value>,
    /// Which of the request's pictures it is, from 0; absent if there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub index: Option<u32>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<ModelRecipe>,
    /// The LoRAs of the request whose digests were known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRecipe>,
    /// The last step that was made, from 0, if the job was finished before its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub finished_at_step: Option<u32>,
    /// The version of Glimpse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub glimpse: Option<String>,
    /// Members of later versions.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Value>,
}

/// The model of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsedModel)]
pub struct ModelRecipe {
    /// The name of its file or folder, or on the Hugging Face Hub.
    pub name: String,
    /// SHA-256 (hex) of its file, or of the files of its UNet; absent while it is not known. Other programs write its
    /// first digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sha256: Option<String>,
}

/// A LoRA of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsedLora)]
pub struct LoraRecipe {
    /// As in the request.
    pub path: String,
    /// SHA-256 (hex) of its file.
    pub sha256: String,
    /// The first 12 digits of the SHA-256 of its tensors alone, which other programs call AutoV3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub autov3: Option<String>,
}

impl ModelRecipe {
    /// Whether another model may be this one: its digest begins with the digits that both have, or without digests it has
    /// the same name.
    pub fn fits(&self, other: &Self) -> bool {
        match (&self.sha256, &other.sha256) {
            (Some(one), Some(two)) => one.starts_with(&two[..]) || two.starts_with(&one[..]),
            _ => self.name == other.name,
        }
    }
}

impl Recipe {
    /// The recipe of a job's pictures, without what only its worker knows. `pictures`: how it has input pictures; one
    /// that leaves the fleet has [`InputPictures::Digests`].
    pub fn of(app: Option<App>, spec: &ImageSpec, pictures: InputPictures) -> Self {
        Self {
            version: VERSION,
            app,
            request: spec.to_request(pictures),
            index: None,
            model: None,
            loras: Vec::new(),
            finished_at_step: None,
            glimpse: Some(env!("CARGO_PKG_VERSION").to_owned()),
            more: Map::new(),
        }
    }

    /// The recipe of the picture of one seed alone, of a request with a seed for each picture: it is the same picture.
    #[must_use]
    pub fn of_seed(mut self, seed: u64) -> Self {
        self.request.remove("seeds");
        self.request.extend([("seed".to_owned(), seed.into()), ("num_images".to_owned(), 1.into())]);
        self.index = None;
        self
    }

    /// Writes the settings of the sampler that the request left to the model; `own` is the model's configuration.
    #[must_use]
    pub fn with_sampler(mut self, own: &Map<String, Value>) -> Self {
        complete_sampler(&mut self.request, own);
        self
    }
}
