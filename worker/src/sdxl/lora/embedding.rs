//! Embeddings in a LoRA file: the words that were trained with it.

use std::collections::BTreeMap;

use crate::sdxl::embedding::{EmbeddingPart, Vectors};
use crate::sdxl::weights::{ReadError, Shards};

/// The start of their names: `bundle_emb.WORD.clip_l`.
const PREFIX: &str = "bundle_emb.";
/// Before the only vectors of a word, in A1111's form: `bundle_emb.WORD.string_to_param.*`.
const ONLY: &str = ".string_to_param.";

/// The vectors of one word.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// The word.
    pub name: String,
    /// Its vectors.
    pub vectors: Vectors,
}

/// The word and the part of an embedding's name.
pub(super) fn parse(name: &str) -> Option<(&str, EmbeddingPart)> {
    let rest = name.strip_prefix(PREFIX)?;
    if let Some((word, _)) = rest.rsplit_once(ONLY) {
        return Some((word, EmbeddingPart::Either));
    }
    let (word, part) = rest.rsplit_once('.')?;
    Some((word, EmbeddingPart::parse(part)?))
}

/// All embeddings of a file, in the order of their words.
///
/// # Errors
/// A tensor's name, and why it cannot be read.
pub(super) fn read(shards: &Shards) -> Result<Vec<Embedding>, (String, ReadError)> {
    let mut all: BTreeMap<&str, Vectors> = BTreeMap::new();
    for name in shards.names(PREFIX) {
        let Some((word, part)) = parse(name) else { continue };
        all.entry(word).or_default().put(part, shards, name).map_err(|error| (name.to_owned(), error))?;
    }
    Ok(all.into_iter().map(|(name, vectors)| Embedding { name: name.to_owned(), vectors }).collect())
}
