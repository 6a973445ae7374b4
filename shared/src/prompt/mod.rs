//! Prompts in the syntax of AUTOMATIC1111's web UI: emphasis, `BREAK` and `<lora:…>`.
//!
//! The rules are those of `modules/prompt_parser.py` and `modules/extra_networks.py` of its version 1.10.1. Prompt
//! editing (`[a:b:0.5]`), alternation (`[a|b]`) and `AND`, which change the prompt from step to step, are errors.

mod editing;
mod emphasis;
mod networks;

use serde::{Deserialize, Serialize};

pub use emphasis::Part;
pub use networks::LoraTag;

/// How a prompt is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptSyntax {
    /// All of it is text, as in diffusers.
    #[default]
    Plain,
    /// As in AUTOMATIC1111's web UI.
    A1111,
}

impl PromptSyntax {
    /// Whether all of the prompt is text.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

/// Which of the two prompts of a request a text is. Only the positive one may have `<…>` tags, and only in that one
/// `AND` is a word of the syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What to draw.
    Positive,
    /// What not to draw.
    Negative,
}

/// A prompt in the syntax of AUTOMATIC1111's web UI.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Its text, in order; there is at least one part.
    pub parts: Vec<Part>,
    /// Its LoRAs, in order.
    pub loras: Vec<LoraTag>,
}

/// Why a prompt cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// `[a:b:0.5]`, `[a:0.5]` or `[a::0.5]`.
    #[error(
        "Prompt editing ({0}) is not supported. To write a bracket or a colon as text, put a backslash before the bracket"
    )]
    Editing(String),
    /// `[a|b]`.
    #[error(
        "Alternating words ({0}) are not supported. To write a bracket as text, put a backslash before it"
    )]
    Alternation(String),
    /// `AND`.
    #[error(
        "AND, which divides a prompt into several, is not supported. Write it in small letters to use it as a word"
    )]
    And,
    /// `(a:1.2.3)`.
    #[error("The weight {0} is not a number")]
    Weight(String),
    /// A tag of another kind than `lora`.
    #[error("<{0}:…> is not supported: a prompt may name only LoRAs, as <lora:NAME:SCALE>")]
    Network(String),
    /// A LoRA with a scale that is not a number.
    #[error("<{0}> is not a LoRA: write it as <lora:NAME:SCALE>")]
    Lora(String),
}

impl Prompt {
    /// Reads a prompt.
    ///
    /// # Errors
    /// When it uses what is not supported, or a number is wrong.
    pub fn parse(text: &str, side: Side) -> Result<Self, PromptError> {
        let (text, loras) = match side {
            Side::Positive => networks::taken_out(text)?,
            Side::Negative => (text.to_owned(), Vec::new()),
        };
        editing::check(&text, side)?;
        Ok(Self { parts: emphasis::parts(&text)?, loras })
    }
}

/// Whether a character is one of a word, as in a regular expression.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The byte positions at which `word` stands alone.
fn positions<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}
