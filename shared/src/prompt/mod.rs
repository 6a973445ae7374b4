//! Prompts in the syntax of AUTOMATIC1111's web UI: emphasis, `BREAK` and `<lora:…>`.
//!
//! The rules are those of `modules/prompt_parser.py` and `modules/extra_networks.py` of its version 1.10.1. Prompt
//! editing (`[a:b:0.5]`), alternation (`[a|b]`) and `AND`, which change the prompt from step to step, are errors.

mod editing;
mod emphasis;
mod error;
mod networks;
mod side;
mod words;

use serde::{Deserialize, Serialize};

pub use emphasis::Part;
pub use error::PromptError;
pub use networks::LoraTag;
pub use side::Side;

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

/// A prompt in the syntax of AUTOMATIC1111's web UI.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Its text, in order; there is at least one part.
    pub parts: Vec<Part>,
    /// Its LoRAs, in order.
    pub loras: Vec<LoraTag>,
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
