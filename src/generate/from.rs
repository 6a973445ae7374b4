//! `--from PICTURE`: a picture's recipe as the request, with what other flags say instead.

use std::{fs::File, io::Read, path::PathBuf};

use bytes::Bytes;
use glimpse_shared::{
    id::App,
    recipe::{FoundRecipe, ModelRecipe, NeededPicture, Recipe},
    request::{InputImage, MAX_INPUT_IMAGE_BYTES},
};
use serde_json::{Map, Value};

use super::{failure::Failure, say::say};

/// Members of a request, and what a flag for one of them replaces of a recipe besides it.
const REPLACED: [(&str, &[&str]); 5] = [
    ("seed", &["seeds"]),
    ("seeds", &["seed", "num_images"]),
    ("num_images", &["seeds"]),
    ("scheduler", &["scheduler_config"]),
    ("preset", &["scheduler", "scheduler_config", "num_inference_steps", "guidance_scale"]),
];
/// The lists of noise levels, which give the number of steps.
const LISTS: [&str; 2] = ["sigmas", "timesteps"];
/// The other members of `scheduler_config` that place the noise levels.
const SHAPES: [&str; 3] = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];

/// A picture to make again.
pub struct RecipeFile {
    path: PathBuf,
    bytes: Bytes,
    recipe: Recipe,
}

/// What a recipe asks of the machine that makes its picture again.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The picture, for messages.
    pub named: String,
    /// The model.
    pub model: Option<ModelRecipe>,
    /// SHA-256 (hex) of each LoRA that no flag replaces, by its path.
    pub loras: Vec<(String, String)>,
}

impl RecipeFile {
    /// Reads the recipe of a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has no recipe.
    pub fn read(path: PathBuf) -> Result<Self, Failure> {
        let wrong = |error: String| Failure::BadInput(format!("--from {}: {error}", path.display()));
        let mut bytes = Vec::new();
        // One byte more than allowed: then it is refused as too large.
        let most = MAX_INPUT_IMAGE_BYTES as u64 + 1;
        let read = File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        read.map_err(|error| wrong(error.to_string()))?;
        let bytes = Bytes::from(bytes);
        let FoundRecipe { recipe, unknown } =
            Recipe::from_picture(bytes.clone()).map_err(|error| wrong(error.to_string()))?;
        if !unknown.is_empty() {
            say(format_args!(
                "glimpse: warning: another program made {}, and these of its settings have no counterpart here: {}",
                path.display(),
                unknown.join(", ")
            ));
        }
        Ok(Self { path, bytes, recipe })
    }

    /// The file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The app that made it.
    pub fn app(&self) -> Option<App> {
        self.recipe.app.clone()
    }

    /// Which of the request's pictures it is, if the flags do not ask for others.
    pub fn index(&self, flags: &Map<String, Value>) -> Option<usize> {
        let others = ["num_images", "seeds"].iter().any(|member| flags.contains_key(*member));
        self.recipe.index.filter(|_| !others).map(|index| index as usize)
    }

    /// The request: the recipe's, with the members that flags give.
    ///
    /// # Errors
    /// If the recipe needs an input picture that no flag gives.
    pub fn request(&self, mut flags: Map<String, Value>) -> Result<(Map<String, Value>, Wanted), Failure> {
        let (mut request, needed) = self.recipe.again();
        self.check_pictures(&flags, needed)?;
        for (member, replaced) in REPLACED {
            if flags.contains_key(member) {
                replaced.iter().for_each(|other| drop(request.remove(*other)));
            }
        }
        let has_loras = flags.contains_key("loras");
        sampler(&mut request, &mut flags);
        request.extend(flags);
        let loras = if has_loras { &[][..] } else { &self.recipe.loras };
        let wanted = Wanted {
            named: self.path.display().to_string(),
            model: self.recipe.model.clone(),
            loras: loras.iter().map(|lora| (lora.path.clone(), lora.sha256.clone())).collect(),
        };
        Ok((request, wanted))
    }

    /// Every input picture must be given; another one than the recipe's makes another picture.
    fn check_pictures(&self, flags: &Map<String, Value>, needed: Vec<NeededPicture>) -> Result<(), Failure> {
        let mut absent = Vec::new();
        for NeededPicture { field, sha256 } in needed {
            let member = field.split('[').next().unwrap_or(&field);
            match flags.get(member) {
                None => absent.push(format!(
                    "{field} (SHA-256 {sha256}): give it with --{}",
                    member.trim_end_matches('s')
                )),
                Some(Value::String(uri)) => {
                    let given = InputImage::from_data_uri(uri).map(|image| image.sha256());
                    if given.is_ok_and(|given| given != sha256) {
                        say(format_args!(
                            "glimpse: warning: --{member} is another picture than that of {}",
                            self.path.display()
                        ));
                    }
                }
                Some(_) => {}
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        let (path, absent) = (self.path.display(), absent.join("; "));
        Err(Failure::BadInput(format!(
            "--from {path}: it was made from pictures that it does not contain: {absent}"
        )))
    }
}

/// Joins what the recipe and the flags say of the sampler.
fn sampler(request: &mut Map<String, Value>, flags: &mut Map<String, Value>) {
    let Some(Value::Object(mut config)) = request.remove("scheduler_config") else { return };
    let asked = match flags.get("scheduler_config") {
        Some(Value::Object(asked)) => asked.clone(),
        // The check says what is wrong with it.
        Some(_) => return,
        None => Map::new(),
    };
    let is_given = |key: &str| flags.contains_key(key) || asked.contains_key(key);
    let is_listed = LISTS.into_iter().any(is_given);
    let is_shaped = SHAPES.iter().any(|shape| asked.get(*shape) == Some(&Value::Bool(true)));
    if is_listed {
        request.remove("num_inference_steps");
    }
    if is_listed || is_shaped {
        config.retain(|key, _| !SHAPES.contains(&&key[..]));
    }
    if is_listed || is_shaped || is_given("num_inference_steps") {
        config.retain(|key, _| !LISTS.contains(&&key[..]));
    }
    if is_given("eta") {
        config.remove("eta");
    }
    flags.remove("scheduler_config");
    config.extend(asked);
    request.insert("scheduler_config".to_owned(), Value::Object(config));
}

impl Wanted {
    /// Refuses a model that is not the recipe's.
    ///
    /// # Errors
    /// Names both models.
    pub fn check_model(&self, here: &ModelRecipe) -> Result<(), Failure> {
        let Some(wanted) = self.model.as_ref().filter(|wanted| !wanted.fits(here)) else { return Ok(()) };
        Err(Failure::BadInput(format!(
            "--from {}: it was made with the model {}, and this is {}: name that model with --model",
            self.named,
            shown(wanted),
            shown(here)
        )))
    }

    /// Whether the recipe has the digest of a LoRA that no flag replaces.
    pub fn has_lora(&self, path: &str) -> bool {
        self.loras.iter().any(|(known, _)| known == path)
    }

    /// Refuses a LoRA whose file is not the recipe's.
    ///
    /// # Errors
    /// Names it.
    pub fn check_lora(&self, path: &str, sha256: &str) -> Result<(), Failure> {
        let Some((_, wanted)) = self.loras.iter().find(|(known, wanted)| known == path && wanted != sha256)
        else {
            return Ok(());
        };
        Err(Failure::BadInput(format!(
            "--from {}: it was made with another file {path}: its SHA-256 is {wanted}, and that of the file here is \
             {sha256}",
            self.named
        )))
    }
}

fn shown(model: &ModelRecipe) -> String {
    match &model.sha256 {
        Some(hash) => format!("{} (SHA-256 {hash})", model.name),
        None => model.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_win_over_the_recipes_sampler() {
        let joined = |config: Value, flags: Value| {
            let mut request = Map::from_iter([
                ("num_inference_steps".to_owned(), json!(20)),
                ("scheduler_config".to_owned(), config),
            ]);
            let Value::Object(mut flags) = flags else { panic!("an object") };
            sampler(&mut request, &mut flags);
            request.extend(flags);
            Value::Object(request)
        };
        let own = json!({ "beta_end": 0.5, "use_karras_sigmas": true, "eta": 0.5 });
        for (flags, expected) in [
            (json!({}), json!({ "num_inference_steps": 20, "scheduler_config": own })),
            (
                json!({ "scheduler_config": { "use_beta_sigmas": true } }),
                json!({ "num_inference_steps": 20, "scheduler_config": { "beta_end": 0.5, "eta": 0.5, "use_beta_sigmas": true } }),
            ),
            (
                json!({ "sigmas": [1.0, 0.0], "eta": 0.0 }),
                json!({ "sigmas": [1.0, 0.0], "eta": 0.0, "scheduler_config": { "beta_end": 0.5 } }),
            ),
        ] {
            assert_eq!(joined(own.clone(), flags.clone()), expected, "{flags}");
        }
        let steps = json!({ "num_inference_steps": 5 });
        assert_eq!(
            joined(json!({ "sigmas": [1, 0] }), steps),
            json!({ "num_inference_steps": 5, "scheduler_config": {} })
        );
    }
}
