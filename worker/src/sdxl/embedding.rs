//! Embeddings (textual inversion, Gal et al. 2022): vectors that stand for a word of a prompt. A file of SDXL has the
//! tensors `clip_l` and `clip_g`, one for each text encoder.

use std::path::Path;

use candle_core::Tensor;

use super::error::{LoadError, Shown};
use super::weights::{ReadError, Shards};

/// The text encoders, for messages.
const ENCODERS: [&str; 2] = ["first text encoder", "second text encoder"];

/// The most vectors of a word, more than any text encoder reads.
const MAX_VECTORS: usize = 1024;
/// The largest width of a vector, more than that of any text encoder.
const MAX_WIDTH: usize = 16384;

/// The place of a tensor in an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingPart {
    /// The vectors of a text encoder: 0 or 1.
    Encoder(usize),
    /// The vectors of the text encoder that they fit.
    Either,
    /// Vectors that OneTrainer adds to an encoder's output. Nothing uses them.
    Output,
}

impl EmbeddingPart {
    /// The part of a tensor's name: of A1111, ComfyUI and OneTrainer (`clip_l`), or of diffusers' trainers
    /// (`text_encoders_0`).
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "clip_l" | "text_encoders_0" => Some(Self::Encoder(0)),
            "clip_g" | "text_encoders_1" => Some(Self::Encoder(1)),
            "clip_l_out" | "clip_g_out" => Some(Self::Output),
            _ => None,
        }
    }
}

/// The vectors of a word, [n, width] each, in f32 on the CPU; finite, n is at least 1.
#[derive(Debug, Clone, Default)]
pub struct Vectors {
    /// By text encoder.
    pub encoders: [Option<Tensor>; 2],
    /// For the encoder that they fit.
    pub either: Option<Tensor>,
}

impl Vectors {
    /// Reads a tensor of a file.
    ///
    /// # Errors
    /// If it cannot be read or has neither two axes, `[n, width]`, nor one, `[width]`.
    pub fn put(&mut self, part: EmbeddingPart, shards: &Shards, name: &str) -> Result<(), ReadError> {
        let place = match part {
            EmbeddingPart::Encoder(encoder) => &mut self.encoders[encoder],
            EmbeddingPart::Either => &mut self.either,
            EmbeddingPart::Output => return Ok(()),
        };
        let shape = shards.shape(name).unwrap_or_default();
        // Before the numbers are read: a file may be large.
        let wrong = match shape {
            [.., width] if !(1..=MAX_WIDTH).contains(width) => Some("vectors of a text encoder's width"),
            [_] => None,
            [0, _] => Some("at least one vector"),
            [n, _] if *n > MAX_VECTORS => Some("no more vectors than a text encoder reads"),
            [_, _] => None,
            _ => Some("the axes [vectors, width]"),
        };
        if let Some(wanted) = wrong {
            return Err(ReadError::Unusable(format!("has shape {shape:?}, and should have {wanted}")));
        }
        let tensor = shards.tensor(name)?;
        *place = Some(if tensor.rank() == 1 { tensor.unsqueeze(0)? } else { tensor });
        Ok(())
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.encoders.iter().chain([&self.either]).flatten()
    }

    /// The vectors of each text encoder, [n, width], for a model with encoders of these widths. An encoder without
    /// vectors does not know the word. Those of an encoder that the model does not have stay as they are.
    ///
    /// # Errors
    /// Why they do not fit.
    pub fn of_widths(&self, widths: [Option<usize>; 2]) -> Result<[Option<Tensor>; 2], String> {
        let width = |tensor: &Tensor| tensor.dims().last().copied().unwrap_or_default();
        let mut encoders = self.encoders.clone();
        for (i, (encoder, own)) in encoders.iter().zip(widths).enumerate() {
            let Some(own) = own else { continue };
            if let Some(other) = encoder.as_ref().map(width).filter(|width| *width != own) {
                return Err(format!(
                    "is an embedding for another model: its vectors for the {} have width {other}, and those of this \
                     model have {own}",
                    ENCODERS[i]
                ));
            }
        }
        if let Some(either) = &self.either {
            let fits =
                widths.iter().zip(&encoders).position(|(w, own)| *w == Some(width(either)) && own.is_none());
            let Some(fits) = fits else {
                let own: Vec<String> = widths.iter().flatten().map(usize::to_string).collect();
                return Err(format!(
                    "is an embedding for another model: its vectors have width {}, and those of this model have {}",
                    width(either),
                    own.join(" and ")
                ));
            };
            encoders[fits] = Some(either.clone());
        }
        let counts: Vec<usize> = encoders.iter().flatten().map(|vectors| vectors.dims()[0]).collect();
        match counts[..] {
            [] => Err("has no vectors for a text encoder".to_owned()),
            [first, second] if first != second => Err(format!(
                "has {first} vectors for the first text encoder and {second} for the second, and should have as many"
            )),
            _ => Ok(encoders),
        }
    }
}

/// Reads the file of an embedding.
///
/// # Errors
/// If it is missing, truncated, or is not an embedding of SDXL's form. The message names the file and the tensor.
pub fn open(path: &Path) -> Result<Vectors, LoadError> {
    let shards = Shards::open(path)?;
    let malformed = |message: String| LoadError::Malformed { path: path.into(), message };
    let mut vectors = Vectors::default();
    let names: Vec<&str> = shards.names("").collect();
    for name in &names {
        let part = match EmbeddingPart::parse(name) {
            Some(part) => part,
            None if is_older(name) => {
                return Err(malformed(format!(
                    "is an embedding for another model: {} is the form of Stable Diffusion 1 and 2, and an embedding \
                     for SDXL has clip_l and clip_g",
                    Shown(name)
                )));
            }
            // diffusers' scripts name the only tensor of a file like its word.
            None if names.len() == 1 => EmbeddingPart::Either,
            None => {
                return Err(malformed(format!(
                    "is not an embedding for SDXL, which has the tensors clip_l and clip_g: it has {}",
                    Shown(name)
                )));
            }
        };
        let before = vectors.tensors().count();
        vectors.put(part, &shards, name).map_err(|error| match error {
            ReadError::Load(error) => error,
            ReadError::Unusable(why) => malformed(format!("{} {why}", Shown(name))),
        })?;
        if part != EmbeddingPart::Output && vectors.tensors().count() == before {
            return Err(malformed(format!("has the vectors of one text encoder twice: {}", Shown(name))));
        }
    }
    Ok(vectors)
}

/// Whether a tensor has a name of A1111's form for the models before SDXL.
fn is_older(name: &str) -> bool {
    name == "emb_params" || name.starts_with("string_to_param")
}
