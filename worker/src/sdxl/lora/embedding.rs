//! Embeddings that OneTrainer stores in a LoRA file: the words that were trained with it.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::sdxl::weights::{ReadError, Shards};

/// The start of their names: `bundle_emb.WORD.clip_l`.
const PREFIX: &str = "bundle_emb.";

/// The vectors of one word.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// The word.
    pub name: String,
    /// The vectors for the first text encoder, [tokens, width], on the CPU; finite.
    pub clip_l: Option<Tensor>,
    /// The vectors for the second one.
    pub clip_g: Option<Tensor>,
}

/// The word and the part of an embedding's name.
pub(super) fn parse(name: &str) -> Option<(&str, &str)> {
    let (word, part) = name.strip_prefix(PREFIX)?.rsplit_once('.')?;
    // `_out`: added to the encoder's output, not to its input.
    matches!(part, "clip_l" | "clip_g" | "clip_l_out" | "clip_g_out").then_some((word, part))
}

/// All embeddings of a file, in the order of their words.
///
/// # Errors
/// A tensor's name, and why it cannot be read.
pub(super) fn read(shards: &Shards) -> Result<Vec<Embedding>, (String, ReadError)> {
    let mut all: BTreeMap<&str, Embedding> = BTreeMap::new();
    for name in shards.names(PREFIX) {
        let Some((word, part)) = parse(name) else { continue };
        let blank = || Embedding { name: word.to_owned(), clip_l: None, clip_g: None };
        let embedding = all.entry(word).or_insert_with(blank);
        let place = match part {
            "clip_l" => &mut embedding.clip_l,
            "clip_g" => &mut embedding.clip_g,
            _ => continue,
        };
        let tensor = shards.tensor(name).map_err(|error| (name.to_owned(), error))?;
        *place = Some(match tensor.dims() {
            [_] => tensor.unsqueeze(0).map_err(|error| (name.to_owned(), error.into()))?,
            [_, _] => tensor,
            shape => {
                let why = format!("has shape {shape:?}, and should be [tokens, width]");
                return Err((name.to_owned(), ReadError::Unusable(why)));
            }
        });
    }
    Ok(all.into_values().collect())
}
