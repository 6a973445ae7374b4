//! The embeddings (textual inversion) of one job: reads their files and gives their words to the tokenizers. The tables of
//! the text encoders stay as they are: the vectors are rows beside them, for this job only.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::embedding_choice::EmbeddingChoice;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::lora_files::message;
use super::lora_set::LoraSet;
use super::text_encoders::TextEncoders;
use super::warning::PipelineWarning;
use crate::sdxl::LoadError;
use crate::sdxl::clip::MoreTokens;
use crate::sdxl::embedding;
use crate::sdxl::ops;
use crate::sdxl::tokenizer::ClipTokenizer;

/// The field of a request.
const FIELD: &str = "embeddings";

/// How one text encoder reads the prompts of a job.
#[derive(Debug)]
pub(super) struct Reading {
    /// The model's tokenizer. In the plain syntax it knows the words too.
    pub(super) tokenizer: ClipTokenizer,
    /// The vectors of the words, if there are any.
    pub(super) more: Option<MoreTokens>,
    /// The words, for AUTOMATIC1111's syntax.
    pub(super) words: Vec<TokenizedWord>,
}

/// A word that is found by its tokens, in AUTOMATIC1111's syntax.
#[derive(Debug)]
pub(super) struct TokenizedWord {
    /// The tokens of the word itself; at least one.
    pub(super) name: Vec<u32>,
    /// What replaces them; at least one.
    pub(super) ids: Vec<u32>,
}

/// How each text encoder reads the prompts of a job.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) encoders: Vec<Reading>,
    /// The embeddings of the request.
    pub(super) embeddings: Vec<RequestedEmbedding>,
    pub(super) warnings: Vec<PipelineWarning>,
}

impl Readings {
    /// Whether a prompt can have vectors of the request.
    pub(super) fn has_embeddings(&self) -> bool {
        self.encoders.iter().any(|reading| reading.more.is_some())
    }
}

/// An embedding of the request, after its file was read.
#[derive(Debug)]
pub(super) struct RequestedEmbedding {
    /// Its name in the request.
    pub(super) name: String,
    /// Its words.
    pub(super) tokens: Vec<String>,
    /// The ids of its vectors, by text encoder of the model: none for one that does not know its words.
    pub(super) ids: Vec<Range<u32>>,
}

/// A word and its vectors, [n, width] for each text encoder that knows it.
struct Word {
    token: String,
    vectors: [Option<Tensor>; 2],
}

impl Word {
    /// How many tokens of a prompt it takes.
    fn count(&self) -> usize {
        self.vectors.iter().flatten().map(|vectors| vectors.dims()[0]).max().unwrap_or(0)
    }

    /// The tokens of its vectors in the plain syntax: `x`, `x_1`, `x_2`.
    fn tokens(&self) -> Vec<String> {
        let more = (1..self.count()).map(|i| format!("{}_{i}", self.token));
        [self.token.clone()].into_iter().chain(more).collect()
    }

    /// The token that its second vector has, or would have.
    fn second(&self) -> String {
        format!("{}_1", self.token)
    }
}

impl TextEncoders {
    /// Reads the embeddings of a request, and those in its LoRAs.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if one cannot be used, a fault if its file is changed while it is read.
    pub(super) fn readings(
        &self,
        inputs: &Inputs,
        loras: &LoraSet,
        interrupt: Interrupt<'_>,
    ) -> Result<Readings, PipelineError> {
        let mut words = Vec::new();
        let mut requested = Vec::new();
        for choice in &inputs.embeddings {
            interrupt.check()?;
            let first = words.len();
            self.add(choice, &mut words)?;
            requested.push((choice, first..words.len()));
        }
        let is_plain = inputs.prompt_syntax.is_plain();
        for (i, word) in words.iter().enumerate() {
            let clash = |other: &Word| self.clash(other, word, is_plain);
            if let Some(message) = words[..i].iter().find_map(clash) {
                return Err(PipelineError::bad(FIELD, message));
            }
        }
        let warnings = self.add_trained(loras, is_plain, &mut words);
        let reading = |i: usize| match is_plain {
            true => self.plain(i, &words),
            false => self.by_tokens(i, &words),
        };
        let encoders = (0..self.encoders.len()).map(reading).collect::<Result<_, _>>()?;
        let ids: Vec<_> = (0..self.encoders.len()).map(|i| self.ids(i, &words)).collect();
        let requested = requested.into_iter().map(|(choice, own)| RequestedEmbedding {
            name: choice.name.clone(),
            tokens: choice.tokens.clone(),
            ids: ids.iter().map(|ids| ids[own.start].start..ids[own.end - 1].end).collect(),
        });
        Ok(Readings { encoders, embeddings: requested.collect(), warnings })
    }

    /// Reads the file of an embedding.
    fn add(&self, choice: &EmbeddingChoice, words: &mut Vec<Word>) -> Result<(), PipelineError> {
        let EmbeddingChoice { name, path, tokens } = choice;
        let bad = |message: String| PipelineError::bad(FIELD, format!("{name}: {message}"));
        let file = embedding::open(path).map_err(|error| match error {
            LoadError::Changed { .. } => PipelineError::fault(format!("{name}: {}", message(&error, path))),
            _ => bad(message(&error, path)),
        })?;
        let vectors = file.of_widths(self.widths()).map_err(bad)?;
        let word = |token: &String, vectors| Word { token: token.clone(), vectors };
        let whole = word(&String::new(), vectors);
        if !self.is_finite(&whole)? {
            return Err(bad(
                "its numbers are not finite in the precision of the model: use another file".into()
            ));
        }
        let count = whole.count();
        match &tokens[..] {
            [token] => words.push(word(token, whole.vectors)),
            tokens if tokens.len() == count => {
                for (i, token) in tokens.iter().enumerate() {
                    let one = |vectors: &Tensor| vectors.narrow(0, i, 1);
                    let [first, second] = &whole.vectors;
                    let vectors =
                        [first.as_ref().map(one).transpose()?, second.as_ref().map(one).transpose()?];
                    words.push(word(token, vectors));
                }
            }
            tokens => {
                let vectors = if count == 1 { "1 vector".to_owned() } else { format!("{count} vectors") };
                let message = format!("it has {vectors}, and {} tokens are named", tokens.len());
                return Err(bad(format!("{message}: name one token for all of them, or one for each")));
            }
        }
        for word in &words[words.len() - tokens.len()..] {
            self.check(word).map_err(bad)?;
        }
        Ok(())
    }

    /// Adds the words that were trained with the LoRAs. Those that cannot be used are named in warnings: the LoRA can be
    /// used without them. A word of the request replaces them, and so does a word of an earlier LoRA.
    fn add_trained(&self, loras: &LoraSet, is_plain: bool, words: &mut Vec<Word>) -> Vec<PipelineWarning> {
        let mut warnings = Vec::new();
        for entry in loras.entries() {
            let mut ignored = Vec::new();
            for trained in entry.file.embeddings() {
                let vectors = trained.vectors.of_widths(self.widths());
                let word = vectors.ok().map(|vectors| Word { token: trained.name.clone(), vectors });
                let word = word.filter(|word| {
                    self.is_free(word, words, is_plain)
                        && self.check(word).is_ok()
                        && self.is_finite(word).is_ok_and(|finite| finite)
                });
                match word {
                    Some(word) => words.push(word),
                    None => ignored.push(trained.name.clone()),
                }
            }
            if !ignored.is_empty() {
                let lora = entry.name.clone();
                warnings.push(PipelineWarning::LoraEmbeddingsIgnored { lora, words: ignored });
            }
        }
        warnings
    }

    /// Whether a word has another token than the other words, and in the plain syntax than the model.
    fn is_free(&self, word: &Word, others: &[Word], is_plain: bool) -> bool {
        let is_known = |token: &String| self.tokenizers.iter().any(|tokenizer| tokenizer.knows(token));
        let is_clear = !is_plain || !word.tokens().iter().chain([&word.second()]).any(is_known);
        is_clear && !others.iter().any(|other| self.clash(other, word, is_plain).is_some())
    }

    /// Why two words cannot be in the same request; `None` if they can.
    fn clash(&self, one: &Word, other: &Word, is_plain: bool) -> Option<String> {
        if self.is_same(&one.token, &other.token) {
            let token = &other.token;
            return Some(format!("two embeddings have the token {token:?}: give one of them another"));
        }
        // In the plain syntax the vectors of x are the tokens x, x_1, x_2, and x_1 is never a word of its own.
        let takes = |word: &Word, other: &Word| {
            let own = word.tokens().into_iter().skip(1).chain([word.second()]);
            own.into_iter().find(|own| other.tokens().iter().any(|token| self.is_same(own, token)))
        };
        let (word, taken) = match (is_plain, takes(one, other), takes(other, one)) {
            (false, ..) | (true, None, None) => return None,
            (true, Some(taken), _) => (one, taken),
            (true, None, Some(taken)) => (other, taken),
        };
        Some(format!(
            "the tokens {:?} and {:?} of two embeddings clash, because {taken:?} stands for a vector of {:?}: give one \
             of them another token",
            one.token, other.token, word.token
        ))
    }

    /// Whether two tokens are the same word for the tokenizers, which do not know capital letters.
    fn is_same(&self, one: &str, other: &str) -> bool {
        let normalized = |tokenizer: &ClipTokenizer| {
            tokenizer.normalized(one).is_ok_and(|one| Ok(one) == tokenizer.normalized(other))
        };
        self.tokenizers.iter().any(normalized)
    }

    /// The place of an encoder in [`Word::vectors`]. A single encoder is of the second kind.
    fn place(&self, encoder: usize) -> usize {
        encoder + 2 - self.encoders.len().min(2)
    }

    /// The widths of both text encoders; `None` of one that the model does not have.
    fn widths(&self) -> [Option<usize>; 2] {
        let mut widths = [None; 2];
        for (i, encoder) in self.encoders.iter().enumerate() {
            widths[self.place(i)] = Some(encoder.config().hidden_size);
        }
        widths
    }

    /// Why a word cannot be used in any syntax.
    fn check(&self, word: &Word) -> Result<(), String> {
        let most = self.tokenizers[0].length() - 2;
        if word.count() > most {
            return Err(format!(
                "it has {} vectors, and the model reads at most {most} tokens",
                word.count()
            ));
        }
        for tokenizer in &self.tokenizers {
            if tokenizer.words(&word.token)?.is_empty() {
                return Err(format!(
                    "the token {:?} is an empty text for the model: choose another",
                    word.token
                ));
            }
        }
        Ok(())
    }

    /// Whether the vectors are finite in the encoders' dtypes.
    fn is_finite(&self, word: &Word) -> Result<bool, PipelineError> {
        for (vectors, encoder) in word.vectors[self.place(0)..].iter().zip(&self.encoders) {
            let finite = |vectors: &Tensor| ops::is_finite(&vectors.to_dtype(encoder.dtype())?);
            if !vectors.as_ref().map(finite).transpose()?.unwrap_or(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The ids of each word's vectors in an encoder. They follow on each other after the tokenizer's own.
    fn ids(&self, encoder: usize, words: &[Word]) -> Vec<Range<u32>> {
        let mut next = self.tokenizers[encoder].count();
        let ids = words.iter().map(|word| {
            let count = word.vectors[self.place(encoder)].as_ref().map_or(0, |vectors| vectors.dims()[0]);
            let first = next;
            next += count as u32;
            first..next
        });
        ids.collect()
    }

    /// How an encoder finds the words in the plain syntax: as diffusers' `load_textual_inversion`. Each vector is a token,
    /// `x`, `x_1`, `x_2`.
    fn plain(&self, encoder: usize, words: &[Word]) -> Result<Reading, PipelineError> {
        let known = words.iter().filter(|word| word.vectors[self.place(encoder)].is_some());
        let tokens: Vec<String> = known.flat_map(Word::tokens).collect();
        let own = &self.tokenizers[encoder];
        let tokenizer = match tokens.is_empty() {
            true => own.clone(),
            false => own.with_tokens(&tokens).map_err(|message| PipelineError::bad(FIELD, message))?,
        };
        Ok(Reading { tokenizer, more: self.more(encoder, words, false)?, words: Vec::new() })
    }

    /// How an encoder finds the words in AUTOMATIC1111's syntax: by the tokens of their names, longest first.
    fn by_tokens(&self, encoder: usize, words: &[Word]) -> Result<Reading, PipelineError> {
        let tokenizer = self.tokenizers[encoder].clone();
        let mut all = Vec::new();
        for (word, ids) in words.iter().zip(self.ids(encoder, words)).filter(|(_, ids)| !ids.is_empty()) {
            let name = tokenizer.words(&word.token).map_err(|message| PipelineError::bad(FIELD, message))?;
            all.push(TokenizedWord { name, ids: ids.collect() });
        }
        all.sort_by_key(|word| std::cmp::Reverse(word.name.len()));
        Ok(Reading { tokenizer, more: self.more(encoder, words, true)?, words: all })
    }

    /// The vectors of the words, in their order.
    fn more(
        &self,
        encoder: usize,
        words: &[Word],
        pooled_at_end: bool,
    ) -> Result<Option<MoreTokens>, PipelineError> {
        let vectors: Vec<&Tensor> =
            words.iter().filter_map(|word| word.vectors[self.place(encoder)].as_ref()).collect();
        if vectors.is_empty() {
            return Ok(None);
        }
        let vectors = Tensor::cat(&vectors, 0)?.to_dtype(DType::F32)?;
        Ok(Some(MoreTokens { first: self.tokenizers[encoder].count(), vectors, pooled_at_end }))
    }
}
