//! Warnings about parts of a request that have no effect.

use std::fmt;

use crate::sdxl::tokenizer::Truncated;

/// A part of the request that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineWarning {
    /// The end of a prompt has no effect: the text encoders read a limited number of tokens.
    PromptTruncated {
        /// Which of [`super::Inputs`]' fields.
        field: &'static str,
        /// The part that each of the two text encoders ignores.
        by: [Option<Truncated>; 2],
    },
    /// The words that were trained with a LoRA have no effect.
    LoraEmbeddingsIgnored {
        /// The LoRA's name in the request.
        lora: String,
        /// The words.
        words: Vec<String>,
    },
}

/// The most words in a message, and the most characters of each.
const WORDS: usize = 8;
const WORD_CHARS: usize = 60;

impl fmt::Display for PipelineWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, by) = match self {
            Self::PromptTruncated { field, by } => (field, by),
            Self::LoraEmbeddingsIgnored { lora, words } => return ignored(f, lora, words),
        };
        let name = |encoder: usize| ["the first text encoder", "the second text encoder"][encoder];
        write!(f, "{field} is too long: ")?;
        match by {
            [Some(first), Some(second)] if first == second => write!(f, "the model {first}"),
            [Some(first), Some(second)] => write!(f, "{} {first}; {} {second}", name(0), name(1)),
            [Some(first), None] => write!(f, "{} {first}", name(0)),
            [None, Some(second)] => write!(f, "{} {second}", name(1)),
            [None, None] => write!(f, "its end has no effect"),
        }
    }
}

fn ignored(f: &mut fmt::Formatter<'_>, lora: &str, words: &[String]) -> fmt::Result {
    let shown = |word: &String| {
        let clean = word.chars().filter(|c| !c.is_control()).take(WORD_CHARS);
        format!("\"{}\"", clean.collect::<String>())
    };
    let named: Vec<_> = words.iter().take(WORDS).map(shown).collect();
    write!(f, "{lora} has embeddings for {}", named.join(", "))?;
    if words.len() > WORDS {
        write!(f, " and {} more words", words.len() - WORDS)?;
    }
    f.write_str(": they have no effect, only the LoRA itself is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truncated(tokens: usize, rest: &str) -> Option<Truncated> {
        Some(Truncated { used: 75, tokens, rest: rest.to_owned() })
    }

    #[test]
    fn ignored_embeddings_are_named() {
        let said = |count: usize| {
            let words = (0..count).map(|i| format!("<w{i}>\n")).collect();
            PipelineWarning::LoraEmbeddingsIgnored { lora: "ink".into(), words }.to_string()
        };
        assert_eq!(
            said(1),
            "ink has embeddings for \"<w0>\": they have no effect, only the LoRA itself is used"
        );
        assert!(said(11).contains("\"<w7>\" and 3 more words: "), "{}", said(11));
    }

    #[test]
    fn a_warning_names_the_ignored_part_and_the_text_encoder() {
        let said = |by| PipelineWarning::PromptTruncated { field: "prompt", by }.to_string();
        assert_eq!(
            said([truncated(98, "a hat"), truncated(98, "a hat")]),
            "prompt is too long: the model reads 75 of its 98 tokens, and not what begins with \"a hat\""
        );
        assert_eq!(
            said([None, truncated(76, "!")]),
            "prompt is too long: the second text encoder reads 75 of its 76 tokens, and not what begins with \"!\""
        );
        assert_eq!(
            said([truncated(80, "hat!"), truncated(90, "red")]),
            "prompt is too long: the first text encoder reads 75 of its 80 tokens, and not what begins with \
             \"hat!\"; the second text encoder reads 75 of its 90 tokens, and not what begins with \"red\""
        );
    }
}
