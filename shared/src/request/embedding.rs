//! The embeddings (textual inversion) of a request: their paths and the words for them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    bounds::{MAX_EMBEDDINGS, MAX_TOKEN_CHARS, MAX_TOKENS},
    dialect::{Names, Unknown},
    fields::Fields,
    lora_path::{LoraPath, LoraSource, NoLoraPath, hub_id},
};

/// The ending of an embedding's file.
const ENDING: &str = ".safetensors";

/// An embedding, by its path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    path: LoraPath,
    tokens: Vec<String>,
}

impl Embedding {
    /// Where it is: as for a LoRA, but in another folder.
    pub fn path(&self) -> &LoraPath {
        &self.path
    }

    /// What stands in a prompt for it, at least one: one for all its vectors, or one for each of them.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The feature of a worker that can load it.
    pub fn feature(&self) -> &'static str {
        match self.path.source() {
            None => EMBEDDINGS,
            Some(source) => source.feature_of_embeddings(),
        }
    }
}

/// The feature of a worker with a folder of embeddings.
pub const EMBEDDINGS: &str = "embeddings";

impl LoraSource {
    /// The word among the features of a worker that loads embeddings from there.
    pub fn feature_of_embeddings(self) -> &'static str {
        match self {
            Self::Hub => "embedding_hub",
            Self::Urls => "embedding_urls",
        }
    }
}

impl Fields {
    /// Reads `embeddings`: returns the valid ones, and records the errors of the others.
    pub(super) fn embeddings(&mut self, unknown: Unknown, names: Names) -> Vec<Embedding> {
        let field = "embeddings";
        let mut embeddings: Vec<Embedding> = Vec::new();
        for entry in self.objects(field, MAX_EMBEDDINGS) {
            let mut fields = match entry {
                Ok(fields) => fields,
                Err(error) => {
                    self.errors.push(*error);
                    continue;
                }
            };
            let path = fields.embedding_path(names);
            let tokens = fields.tokens(path.as_ref(), names);
            if unknown == Unknown::Refused {
                fields.refuse_rest();
            }
            let given = embeddings.iter().flat_map(Embedding::tokens);
            let twice =
                tokens.iter().flatten().find(|token| given.clone().any(|other| is_same(other, token)));
            if let Some(token) = twice {
                let msg = "Two embeddings have this token: each needs another one";
                fields.wrong("token", "excluded", msg, &Value::from(&token[..]));
            }
            self.errors.append(&mut fields.errors);
            embeddings.extend(path.zip(tokens).map(|(path, tokens)| Embedding { path, tokens }));
        }
        embeddings
    }

    fn embedding_path(&mut self, names: Names) -> Option<LoraPath> {
        let field = "path";
        let errors = self.errors.len();
        let text = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&text[..]);
        let on_hub = hub_id(&text).filter(|_| names.are_fal());
        let path = LoraPath::try_from(on_hub.unwrap_or(text));
        path.map_err(|error| {
            let msg = match error {
                NoLoraPath::File => {
                    "Input should name a file under the workers' folder of embeddings, by the same \
                                     rules as a LoRA. Or it should be an http or https URL, or \
                                     hf://OWNER/NAME[@REVISION][/FILE.safetensors]"
                        .to_owned()
                }
                NoLoraPath::Hub | NoLoraPath::Url => error.to_string(),
            };
            self.wrong(field, "embedding_name", msg, &input);
        })
        .ok()
    }

    /// `token`, or fal's `tokens`. Without them the name of the file is the token, and on fal's routes `<s0>` and `<s1>`.
    fn tokens(&mut self, path: Option<&LoraPath>, names: Names) -> Option<Vec<String>> {
        let errors = self.errors.len();
        let named = if names.are_fal() { self.take("tokens") } else { None };
        if let Some(token) = self.text("token", 1, MAX_TOKEN_CHARS) {
            return self.right_token("token", token).map(|token| vec![token]);
        }
        let Some(named) = named else {
            return match path {
                _ if self.errors.len() > errors => None,
                Some(_) if names.are_fal() => Some(["<s0>", "<s1>"].map(str::to_owned).to_vec()),
                Some(path) => self.right_token("token", name_of(path)).map(|token| vec![token]),
                None => None,
            };
        };
        let Value::Array(entries) = &named else {
            self.wrong("tokens", "list_type", "Input should be a valid list", &named);
            return None;
        };
        if !(1..=MAX_TOKENS).contains(&entries.len()) {
            let msg = format!("List should have 1 to {MAX_TOKENS} items");
            self.wrong("tokens", "sequence_length", msg, &named);
            return None;
        }
        let mut tokens: Vec<String> = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = entry.as_str().filter(|text| (1..=MAX_TOKEN_CHARS).contains(&text.chars().count()));
            let Some(text) = text else {
                let msg = format!("Input should be texts of 1 to {MAX_TOKEN_CHARS} characters");
                self.wrong("tokens", "string_type", msg, entry);
                return None;
            };
            if tokens.iter().any(|other| is_same(other, text)) {
                self.wrong("tokens", "excluded", "Each vector needs another token", entry);
                return None;
            }
            tokens.push(self.right_token("tokens", text.to_owned())?);
        }
        Some(tokens)
    }

    /// A token that a text can have.
    fn right_token(&mut self, field: &str, token: String) -> Option<String> {
        let is_right = token.trim() == token
            && (1..=MAX_TOKEN_CHARS).contains(&token.chars().count())
            && !token.chars().any(char::is_control);
        if !is_right {
            let msg = format!(
                "A token should have 1 to {MAX_TOKEN_CHARS} characters, no control characters, and no spaces at its \
                 ends; without one it is the name of the file"
            );
            let ctx = json!({ "max_length": MAX_TOKEN_CHARS });
            self.out_of_bounds(field, "embedding_token", msg, &Value::from(token), ctx);
            return None;
        }
        Some(token)
    }
}

/// Whether a tokenizer finds the same text for both: it does not know capital letters.
fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The name of a file without its folder and ending, or that of its repository.
fn name_of(path: &LoraPath) -> String {
    let shown = match path {
        LoraPath::Hub(hub) if hub.file().is_none() => hub.name().to_owned(),
        path => path.to_string(),
    };
    let last = shown.rsplit('/').next().unwrap_or_default();
    last.strip_suffix(ENDING).unwrap_or(last).to_owned()
}
