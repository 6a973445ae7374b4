//! Divides a prompt into chunks of as many tokens as a text encoder reads, as AUTOMATIC1111's web UI does
//! (`modules/sd_hijack_clip.py` of its version 1.10.1).

use glimpse_shared::prompt::Part;

use super::embeddings::Reading;
use crate::sdxl::tokenizer::ClipTokenizer;

/// The most chunks of a prompt. The UNet's cross-attention costs as many times as much.
pub(super) const MAX_CHUNKS: usize = 10;

/// How far back from a full chunk's end a comma may be at which it is divided, in tokens.
const BACKTRACK: usize = 20;

/// What a text encoder reads at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// Start token, tokens, end token, padding: `model_max_length` ids.
    pub(super) ids: Vec<u32>,
    /// The emphasis of each id; `None` if each is 1.
    pub(super) weights: Option<Vec<f64>>,
}

impl Chunk {
    /// The chunk of the empty text.
    pub(super) fn empty(tokenizer: &ClipTokenizer) -> Self {
        Self { ids: tokenizer.framed(&[]), weights: None }
    }
}

/// The chunks of a text without a syntax. There is at least one.
///
/// # Errors
/// The tokenizer's message, if it fails.
pub(super) fn plain(tokenizer: &ClipTokenizer, text: &str) -> Result<Vec<Chunk>, String> {
    let tokens = tokenizer.tokens(text)?;
    let chunk = |tokens: &[u32]| Chunk { ids: tokenizer.framed(tokens), weights: None };
    let chunks: Vec<_> = tokens.chunks(tokenizer.length() - 2).map(chunk).collect();
    Ok(if chunks.is_empty() { vec![Chunk::empty(tokenizer)] } else { chunks })
}

/// The chunks of a prompt in AUTOMATIC1111's syntax. There is at least one. Each part is tokenized by itself. The vectors of
/// an embedding are in one chunk.
///
/// # Errors
/// The tokenizer's message, if it fails.
pub(super) fn a1111(reading: &Reading, parts: &[Part]) -> Result<Vec<Chunk>, String> {
    let tokenizer = &reading.tokenizer;
    let mut filling = Filling::new(tokenizer);
    for part in parts {
        match part {
            Part::Break => filling.close(),
            Part::Text(text, weight) => {
                let tokens = tokenizer.words(text)?;
                let mut rest = &tokens[..];
                while let Some((token, others)) = rest.split_first() {
                    filling.make_room(*token);
                    let word = reading.words.iter().find(|word| rest.starts_with(&word.name));
                    rest = match word {
                        None => others,
                        Some(word) => &rest[word.name.len()..],
                    };
                    let ids = word.map_or(std::slice::from_ref(token), |word| &word.ids);
                    if filling.open.len() + ids.len() > filling.size {
                        filling.close();
                    }
                    filling.open.extend(ids.iter().map(|id| (*id, *weight)));
                }
            }
        }
    }
    if !filling.open.is_empty() || filling.chunks.is_empty() {
        filling.close();
    }
    Ok(filling.chunks)
}

/// Chunks while they are filled.
struct Filling<'a> {
    tokenizer: &'a ClipTokenizer,
    /// Tokens of a chunk, without start and end tokens.
    size: usize,
    chunks: Vec<Chunk>,
    /// The tokens of the chunk that is not full, and their weights.
    open: Vec<(u32, f64)>,
    /// Where its last comma is.
    comma: Option<usize>,
}

impl<'a> Filling<'a> {
    fn new(tokenizer: &'a ClipTokenizer) -> Self {
        let size = tokenizer.length() - 2;
        Self { tokenizer, size, chunks: Vec::new(), open: Vec::new(), comma: None }
    }

    /// Ends a chunk that is full. `token` is the next one.
    fn make_room(&mut self, token: u32) {
        let full = self.open.len() == self.size;
        if Some(token) == self.tokenizer.comma() {
            self.comma = Some(self.open.len());
        } else if let Some(comma) = self.comma.filter(|comma| full && self.open.len() - comma <= BACKTRACK) {
            // What follows the comma moves to the next chunk.
            let moved = self.open.split_off(comma + 1);
            self.close();
            self.open = moved;
        }
        if self.open.len() == self.size {
            self.close();
        }
    }

    fn close(&mut self) {
        let (tokens, mut weights): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open).into_iter().unzip();
        weights.insert(0, 1.0);
        weights.resize(self.tokenizer.length(), 1.0);
        let weighs = weights.iter().any(|weight| *weight != 1.0);
        self.chunks.push(Chunk { ids: self.tokenizer.framed(&tokens), weights: weighs.then_some(weights) });
        self.comma = None;
    }
}
