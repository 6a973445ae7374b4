//! Warnings about parts of a request that have no effect.

use std::fmt;

use crate::sdxl::tokenizer::Truncated;

/// A part of the request that has no effect.
#[derive(Debug, Clone, PartialEq)]
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
    /// The aesthetic scores have no effect: no part of the job has a model that is told them.
    ScoresIgnored {
        /// Whether the worker has a refiner, to which a request can give the last steps.
        has_refiner: bool,
    },
    /// A ControlNet has no effect: none of the job's steps is in its window.
    ControlNetIgnored {
        /// Its name in the request.
        name: String,
        /// The window's start and end, 0..1.
        window: [f64; 2],
        /// Number of the steps that windows divide.
        steps: usize,
    },
    /// An embedding has no effect.
    EmbeddingIgnored {
        /// Its name in the request.
        name: String,
        /// Its words.
        tokens: Vec<String>,
        /// Whether the model has a text encoder for its vectors. If so, none of the words is in a prompt.
        fits: bool,
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
            Self::ScoresIgnored { has_refiner } => return f.write_str(scores(*has_refiner)),
            Self::ControlNetIgnored { name, window: [start, end], steps } => {
                return write!(
                    f,
                    "{name} has no effect: none of the {steps} steps is whole between its start {start} and its end {end}"
                );
            }
            Self::EmbeddingIgnored { name, tokens, fits } => return unread(f, name, tokens, *fits),
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

/// What is said of aesthetic scores without an effect.
fn scores(has_refiner: bool) -> &'static str {
    match has_refiner {
        true => {
            "the aesthetic scores have no effect: only the refiner reads them, and without denoising_end it has no \
                 steps"
        }
        false => "the aesthetic scores have no effect: this model is not told them",
    }
}

/// `"hat", "red" and 3 more words`.
fn named(words: &[String]) -> String {
    let shown = |word: &String| {
        let clean = word.chars().filter(|c| !c.is_control()).take(WORD_CHARS);
        format!("\"{}\"", clean.collect::<String>())
    };
    let named: Vec<_> = words.iter().take(WORDS).map(shown).collect();
    let more = words.len().saturating_sub(WORDS);
    let more = if more == 0 { String::new() } else { format!(" and {more} more words") };
    named.join(", ") + &more
}

fn ignored(f: &mut fmt::Formatter<'_>, lora: &str, words: &[String]) -> fmt::Result {
    write!(f, "{lora} has embeddings for {}: they have no effect, only the LoRA itself is used", named(words))
}

fn unread(f: &mut fmt::Formatter<'_>, name: &str, tokens: &[String], fits: bool) -> fmt::Result {
    match fits {
        true => write!(f, "{name} has no effect: the model reads {} in no prompt", named(tokens)),
        false => {
            write!(f, "{name} has no effect: it has vectors only for a text encoder that this model lacks")
        }
    }
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
    fn parts_without_an_effect_are_named() {
        let unread = |fits| PipelineWarning::EmbeddingIgnored {
            name: "ink".into(),
            tokens: vec!["<ink>".into(), "<pen>".into()],
            fits,
        };
        let window = [0.5, 0.6];
        for (warning, said) in [
            (unread(true), "ink has no effect: the model reads \"<ink>\", \"<pen>\" in no prompt"),
            (
                unread(false),
                "ink has no effect: it has vectors only for a text encoder that this model lacks",
            ),
            (
                PipelineWarning::ControlNetIgnored { name: "canny".into(), window, steps: 3 },
                "canny has no effect: none of the 3 steps is whole between its start 0.5 and its end 0.6",
            ),
        ] {
            assert_eq!(warning.to_string(), said);
        }
        let scores = |has_refiner| PipelineWarning::ScoresIgnored { has_refiner }.to_string();
        assert!(scores(true).contains("without denoising_end"), "{}", scores(true));
        assert!(scores(false).contains("not told"), "{}", scores(false));
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
