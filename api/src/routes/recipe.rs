//! `POST /v1/recipe`: reads the recipe of a picture, and says what of it is missing here.

use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use glimpse_shared::{
    id::App,
    prompt::{Prompt, Side},
    recipe::{FoundRecipe, NoRecipe, Recipe},
    request::{FieldError, LoraPath},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    admission::Offered,
    error::ApiError,
    json::json_response,
    state::{Api, ask},
};

/// The recipe of a picture.
#[derive(Serialize, ToSchema)]
pub(crate) struct PictureRecipe {
    recipe: Recipe,
    /// The body for `POST /v1/jobs` that makes the picture again, if nothing is missing. A picture of several is made
    /// together with the others; `recipe.index` says which it is.
    request: Map<String, Value>,
    /// What the request lacks, or what this fleet does not have; empty if the picture can be made again.
    missing: Vec<Missing>,
}

/// A part of a recipe that is missing here.
#[derive(Serialize, ToSchema)]
#[schema(as = MissingPart)]
struct Missing {
    /// What it is.
    what: What,
    /// Its name: an app, a model, a LoRA, a field of the request, or a setting of another program.
    name: String,
    /// What is wrong and what to do, for people.
    message: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MissingKind)]
enum What {
    App,
    Model,
    Lora,
    /// An input picture: add it to the field.
    Input,
    /// A setting of another program that has no counterpart here.
    Setting,
}

/// Reads the picture in the body.
pub(crate) async fn read(State(api): State<Api>, body: Bytes) -> Result<Response, ApiError> {
    let found = api.requests.run_if_large(body.len(), move || Recipe::from_picture(body)).await?;
    let FoundRecipe { recipe, unknown } = found.map_err(|error| refused(&error))?;
    let offered = ask(api.admission.offered()).await?;
    let (mut request, needed) = recipe.again();
    let mut missing: Vec<_> = needed
        .into_iter()
        .map(|picture| {
            let message = format!(
                "The picture was made from another one, which it does not contain (SHA-256 {}): add it as {}",
                picture.sha256, picture.field
            );
            Missing { what: What::Input, name: picture.field, message }
        })
        .collect();
    match app(&recipe, &offered) {
        Ok(offered) => {
            request.insert("app".to_owned(), json!(offered.app));
            missing.extend(model(&recipe, offered));
            missing.extend(loras(&request, offered));
        }
        Err(absent) => {
            request.extend(recipe.app.iter().map(|app| ("app".to_owned(), json!(app))));
            missing.push(absent);
        }
    }
    missing.extend(unknown.into_iter().map(|name| {
        let message =
            format!("Another program made the picture, and its setting {name} has no counterpart here");
        Missing { what: What::Setting, name, message }
    }));
    Ok(json_response(StatusCode::OK, &PictureRecipe { recipe, request, missing }))
}

fn refused(error: &NoRecipe) -> ApiError {
    let (kind, ctx) = match error {
        NoRecipe::NoPicture(error) => (error.kind(), error.ctx()),
        NoRecipe::None => ("missing_recipe", None),
        NoRecipe::Unreadable(_) => ("unreadable_recipe", None),
    };
    let mut field = FieldError::within_body([], kind, error.to_string(), &Value::Null);
    field.ctx = ctx;
    ApiError::field(field)
}

/// What the recipe's app offers; without a name the only app that there is.
fn app<'a>(recipe: &Recipe, offered: &'a [Offered]) -> Result<&'a Offered, Missing> {
    let served: Vec<_> = offered.iter().map(|each| each.app.as_str()).collect();
    let named = |app: &App| offered.iter().find(|each| each.app == *app);
    let found = match (&recipe.app, offered) {
        (Some(app), _) => named(app),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let name = recipe.app.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = match (&recipe.app, &served[..]) {
            (_, []) => "No app is served at the moment: retry later".to_owned(),
            (Some(app), _) => {
                format!("No worker serves the app {app}. Available apps: {}", served.join(", "))
            }
            (None, _) => {
                format!("The picture names no app of this fleet: choose one of {}", served.join(", "))
            }
        };
        Missing { what: What::App, name, message }
    })
}

/// Another model, if no worker of the app has the recipe's. A worker of the previous release does not say what it has.
fn model(recipe: &Recipe, offered: &Offered) -> Option<Missing> {
    let wanted = recipe.model.as_ref()?;
    if offered.models.is_empty() || offered.models.iter().any(|model| wanted.fits(model)) {
        return None;
    }
    let names: Vec<_> = offered.models.iter().map(shown).collect();
    let message = format!(
        "The picture was made with the model {}, and {} is served with {} now: another model makes another picture",
        shown(wanted),
        offered.app,
        names.join(", ")
    );
    Some(Missing { what: What::Model, name: wanted.name.clone(), message })
}

/// A model's name and the first digits of its digest.
fn shown(model: &glimpse_shared::recipe::ModelRecipe) -> String {
    let digits = model.sha256.as_ref().and_then(|hash| hash.get(..10));
    digits.map_or_else(|| model.name.clone(), |digits| format!("{} ({digits})", model.name))
}

/// The LoRAs of a request that no worker of the app has: those of its list, and those that its prompt names.
fn loras(request: &Map<String, Value>, offered: &Offered) -> Vec<Missing> {
    let listed = request.get("loras").and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(|lora| lora.get("path")?.as_str().map(str::to_owned));
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let named = match text("prompt_syntax") {
        "a1111" => {
            Prompt::parse(text("prompt"), Side::Positive).map(|prompt| prompt.loras).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let all = listed.chain(named.into_iter().map(|tag| tag.name));
    all.filter_map(|path| {
        let message = absent(&path, offered)?;
        Some(Missing { what: What::Lora, name: path, message })
    })
    .collect()
}

/// Why no worker has a LoRA; `None` if one has it, or may have it.
fn absent(path: &str, offered: &Offered) -> Option<String> {
    match LoraPath::try_from(path.to_owned()).ok()? {
        LoraPath::File(name) => {
            // A list that is full may lack it.
            let stem = |name: &str| name.strip_suffix(".safetensors").unwrap_or(name).to_owned();
            let is_known = offered.loras.iter().any(|known| stem(known) == stem(name.as_str()));
            (!is_known && offered.lists_all_loras)
                .then(|| format!("No worker of {} has the LoRA {path}", offered.app))
        }
        other => {
            let source = other.source().filter(|source| !offered.offer.lora_sources.contains(source))?;
            Some(format!("No worker of {} loads LoRAs from {source}, as {path}", offered.app))
        }
    }
}
