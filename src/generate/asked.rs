//! The request of a command: what its flags say, and the picture whose recipe it begins with.

use glimpse_shared::{
    id::App,
    request::{ImageRequest, OutputFormat},
};
use serde_json::{Map, Value};

use super::{
    failure::Failure,
    from::{RecipeFile, Wanted},
    remote::Server,
};

/// What a command asks for, without the prompt and the format.
pub struct Asked {
    /// What flags say.
    pub flags: ImageRequest,
    /// The picture to make again.
    pub from: Option<RecipeFile>,
}

/// A request to send.
pub struct Ask {
    pub request: Map<String, Value>,
    /// What the recipe wants of the place where the pictures are made.
    pub wanted: Wanted,
    /// Which of the pictures is wanted, from 0; `None`: all.
    pub index: Option<usize>,
}

impl Asked {
    /// The request for a prompt; without one that of the picture.
    ///
    /// # Errors
    /// If the recipe needs an input picture that no flag gives.
    pub fn of(&self, prompt: Option<String>, format: OutputFormat) -> Result<Ask, Failure> {
        let has_prompt = prompt.is_some();
        let flags = ImageRequest {
            prompt: prompt.unwrap_or_default(),
            output_format: Some(format),
            ..self.flags.clone()
        };
        let Value::Object(mut flags) = serde_json::to_value(flags).map_err(Failure::unforeseen)? else {
            return Err(Failure::unforeseen("the request is not a JSON object"));
        };
        let Some(from) = &self.from else {
            return Ok(Ask { request: flags, wanted: Wanted::default(), index: None });
        };
        if !has_prompt {
            flags.remove("prompt");
        }
        let index = from.index(&flags);
        let (request, wanted) = from.request(flags)?;
        Ok(Ask { request, wanted, index })
    }

    /// The app of the picture.
    pub fn app(&self) -> Option<App> {
        self.from.as_ref().and_then(RecipeFile::app)
    }

    /// Asks a server whether it has what the recipe names. `has_app`: a flag names the app.
    ///
    /// # Errors
    /// If something is missing that no flag replaces.
    pub async fn check_on(&self, server: &Server, has_app: bool) -> Result<(), Failure> {
        match &self.from {
            Some(from) => server.check_recipe(from, has_app, !self.flags.loras.is_empty()).await,
            None => Ok(()),
        }
    }
}
