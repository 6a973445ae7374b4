//! Why a prompt cannot be read.

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
