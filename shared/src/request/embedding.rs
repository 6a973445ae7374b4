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
        // Those of the entries before.
        let mut given: Vec<String> = Vec::new();
        self.list(EMBEDDINGS, MAX_EMBEDDINGS, unknown, |fields| {
            let path = fields.embedding_path(names);
            let Tokens { tokens, by } = fields.tokens(path.as_ref(), names)?;
            let is_given = |token: &String| given.iter().any(|other| is_same(other, token));
            let twice = tokens.iter().enumerate().find(|(_, token)| is_given(token));
            if let Some((index, token)) = twice {
                let (msg, input) = ("Two embeddings have this token: each needs another one", json!(token));
                match by {
                    Some("tokens") => fields.wrong_entry("tokens", index, "excluded", msg, &input),
                    Some(field) => fields.wrong(field, "excluded", msg, &input),
                    None => {
                        let msg = format!(
                            "Without a token its token is {token}, which another embedding has: name another with token"
                        );
                        fields.wrong("path", "excluded", msg, &input);
                    }
                }
            }
            given.extend(tokens.iter().cloned());
            Some(Embedding { path: path?, tokens })
        })
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
    fn tokens(&mut self, path: Option<&LoraPath>, names: Names) -> Option<Tokens> {
        let errors = self.errors.len();
        let named = if names.are_fal() { self.take_beside("tokens", &["token"]) } else { None };
        if let Some(token) = self.text("token", 1, MAX_TOKEN_CHARS) {
            if !is_right(&token) {
                self.wrong_token("token", &rule(), &token);
                return None;
            }
            return Some(Tokens { tokens: vec![token], by: Some("token") });
        }
        if self.errors.len() > errors {
            return None;
        }
        let Some(named) = named else {
            let tokens = match names.are_fal() {
                true => ["<s0>", "<s1>"].map(str::to_owned).to_vec(),
                false => vec![name_of(path?)],
            };
            if let Some(wrong) = tokens.iter().find(|token| !is_right(token)) {
                let msg =
                    format!("Without a token it is the name of the file, and that cannot be one. {}", rule());
                self.wrong_token("path", &msg, wrong);
                return None;
            }
            return Some(Tokens { tokens, by: None });
        };
        self.listed_tokens(&named).map(|tokens| Tokens { tokens, by: Some("tokens") })
    }

    /// fal's `tokens`.
    fn listed_tokens(&mut self, named: &Value) -> Option<Vec<String>> {
        let field = "tokens";
        let Value::Array(entries) = named else {
            self.wrong(field, "list_type", "Input should be a valid list", named);
            return None;
        };
        if !(1..=MAX_TOKENS).contains(&entries.len()) {
            let msg = format!("List should have 1 to {MAX_TOKENS} items");
            self.wrong(field, "sequence_length", msg, named);
            return None;
        }
        let mut tokens: Vec<String> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let (kind, msg) = match entry.as_str() {
                None => ("string_type", "Input should be a valid string".to_owned()),
                Some(text) if !is_right(text) => ("embedding_token", rule()),
                Some(text) if tokens.iter().any(|other| is_same(other, text)) => {
                    ("excluded", "Each vector needs another token".to_owned())
                }
                Some(text) => {
                    tokens.push(text.to_owned());
                    continue;
                }
            };
            self.wrong_entry(field, index, kind, msg, entry);
            return None;
        }
        Some(tokens)
    }

    fn wrong_token(&mut self, field: &str, msg: &str, token: &str) {
        let ctx = json!({ "max_length": MAX_TOKEN_CHARS });
        self.out_of_bounds(field, "embedding_token", msg, &Value::from(token), ctx);
    }
}

/// The words of an embedding, at least one, and the field that gave them; `None` if they follow from its path.
struct Tokens {
    tokens: Vec<String>,
    by: Option<&'static str>,
}

/// The rule of [`is_right`].
fn rule() -> String {
    format!(
        "A token should have 1 to {MAX_TOKEN_CHARS} characters, no control characters, and no spaces at its ends"
    )
}

/// Whether a text can have this token.
fn is_right(token: &str) -> bool {
    token.trim() == token
        && (1..=MAX_TOKEN_CHARS).contains(&token.chars().count())
        && !token.chars().any(char::is_control)
}

/// Whether a tokenizer finds the same text for both: it compares single letters in lower case, and all spaces are one.
/// It also composes accents; the worker finds tokens that differ in these.
fn is_same(one: &str, other: &str) -> bool {
    let compared = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().flat_map(char::to_lowercase).collect::<String>()
    };
    compared(one) == compared(other)
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
