//! CLIP's byte-pair encoding from `vocab.json` and `merges.txt`, as transformers' `CLIPTokenizer`
//! (`models/clip/tokenization_clip.py`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizedString, Normalizer, SplitDelimiterBehavior, Tokenizer};

use super::config_files::ConfigFiles;
use super::error::LoadError;
use super::settings::Settings;

/// What the files are needed for, for errors.
const WHAT: &str = "a tokenizer";

/// How OpenAI's CLIP splits text into words before the merges.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Most characters of the truncated text in a message.
const REST_SHOWN: usize = 40;

/// A prompt's token ids, with start and end tokens, padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIds {
    /// `model_max_length` ids.
    pub ids: Vec<u32>,
    /// Number of ids before truncation and padding, including the start and end tokens.
    pub untruncated: usize,
    /// The truncated end of the prompt, if any.
    pub truncated: Option<Truncated>,
}

/// The truncated end of a prompt. Its text is the predicate of a sentence: "reads 75 of its 98 tokens, …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// Number of used tokens, without the start and end tokens.
    pub used: usize,
    /// Number of tokens of the prompt, without the start and end tokens.
    pub tokens: usize,
    /// The first characters of the truncated text.
    pub rest: String,
}

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { used, tokens, rest } = self;
        write!(f, "reads {used} of its {tokens} tokens, and not what begins with {rest:?}")
    }
}

/// One of the two tokenizers of a checkpoint.
#[derive(Clone)]
pub struct ClipTokenizer {
    tokenizer: Arc<Tokenizer>,
    /// The same one, for which the padding token is a word like others.
    words: Arc<Tokenizer>,
    /// The tokens of [`ClipTokenizer::with_tokens`], in the order of their ids.
    added: Vec<String>,
    folder: PathBuf,
    comma: Option<u32>,
    length: usize,
    start: u32,
    end: u32,
    pad: u32,
}

impl ClipTokenizer {
    /// Reads `vocab.json`, `merges.txt`, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// If one is missing or a special token is not in the vocabulary.
    pub fn open(files: &ConfigFiles) -> Result<Self, LoadError> {
        let config = files.settings("tokenizer_config.json", WHAT)?;
        config.only("tokenizer_class", &["CLIPTokenizer".into(), "CLIPTokenizerFast".into()])?;
        config.only("add_prefix_space", &[false.into()])?;
        config.only("do_lower_case", &[true.into()])?;
        let length: usize = config.required("model_max_length")?;
        // The map is optional and has precedence over the configuration, as in transformers.
        let map = match files.find("special_tokens_map.json")? {
            Some(text) => Some(Settings::parse(&text, &files.path("special_tokens_map.json"))?),
            None => None,
        };
        let special = |key: &'static str| -> Result<String, LoadError> {
            let named = match &map {
                Some(map) => map.get::<Value>(key)?,
                None => None,
            };
            let value = match named {
                Some(value) => Some(value),
                None => config.get(key)?,
            };
            match &value {
                Some(Value::String(token)) => Some(token.clone()),
                Some(Value::Object(token)) => token.get("content").and_then(Value::as_str).map(str::to_owned),
                _ => None,
            }
            .ok_or_else(|| config.wrong(key, "is missing"))
        };
        let (start, end) = (special("bos_token")?, special("eos_token")?);
        let (pad, unknown) = (special("pad_token")?, special("unk_token")?);

        let malformed = |path: &Path, e: String| LoadError::Malformed { path: path.into(), message: e };
        let (vocab_path, merges_path) = (files.path("vocab.json"), files.path("merges.txt"));
        let vocab: HashMap<String, u32> = serde_json::from_str(&files.text("vocab.json", WHAT)?)
            .map_err(|e| malformed(&vocab_path, e.to_string()))?;
        let merges = merges(&files.text("merges.txt", WHAT)?)
            .map_err(|line| malformed(&merges_path, format!("line {line} is not a pair")))?;
        let id = |token: &str| {
            vocab.get(token).copied().ok_or_else(|| malformed(&vocab_path, format!("no token {token:?}")))
        };
        let (start_id, end_id, pad_id) = (id(&start)?, id(&end)?, id(&pad)?);
        id(&unknown)?;

        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
            .unk_token(unknown.clone())
            .continuing_subword_prefix(String::new())
            .end_of_word_suffix("</w>".into())
            .build()
            .map_err(|e| malformed(&merges_path, e.to_string()))?;
        let folder = files.path("");
        let broken = |e: tokenizers::Error| malformed(&folder, e.to_string());
        let mut tokenizer = Tokenizer::new(model);
        let spaces =
            Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()), " ")
                .map_err(broken)?;
        let steps = vec![NormalizerWrapper::NFC(NFC), spaces.into(), Lowercase.into()];
        tokenizer.with_normalizer(Some(Normalizers::new(steps))).map_err(broken)?;
        let split = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true)
            .map_err(broken)?;
        let bytes = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![split.into(), bytes.into()])));
        let add = |tokenizer: &mut Tokenizer, tokens: &[&String]| {
            let tokens: Vec<_> = tokens.iter().map(|t| AddedToken::from(t.as_str(), true)).collect();
            tokenizer.add_special_tokens(tokens).map_err(broken)
        };
        let mut words = tokenizer.clone();
        add(&mut words, &[&start, &end, &unknown])?;
        // Special tokens are found before the words. So every "!" in a prompt becomes the pad token in SDXL's second
        // tokenizer.
        add(&mut tokenizer, &[&start, &end, &unknown, &pad])?;
        let comma = tokenizer.token_to_id(",</w>");
        if length < 2 {
            return Err(config.wrong("model_max_length", "leaves no room for the start and end tokens"));
        }
        let (tokenizer, words) = (Arc::new(tokenizer), Arc::new(words));
        let (start, end, pad) = (start_id, end_id, pad_id);
        Ok(Self { tokenizer, words, added: Vec::new(), folder, comma, length, start, end, pad })
    }

    /// This tokenizer with more tokens, as `add_tokens` of transformers adds them: each is found in the text of a prompt
    /// before its words, in any case of its letters. Their ids begin at [`ClipTokenizer::count`].
    ///
    /// # Errors
    /// If a token exists already, as diffusers' `load_textual_inversion` checks it, or the tokenizer fails.
    pub fn with_tokens(&self, tokens: &[String]) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::clone(&self.tokenizer);
        for (token, id) in tokens.iter().zip(self.count()..) {
            for clash in [token.clone(), format!("{token}_1")] {
                if tokenizer.token_to_id(&clash).is_some() {
                    return Err(format!("the model knows the token {clash:?} already: choose another one"));
                }
            }
            tokenizer.add_tokens([AddedToken::from(token.as_str(), false)]).map_err(|e| e.to_string())?;
            if tokenizer.token_to_id(token) != Some(id) {
                return Err(format!("the tokenizer cannot add the token {token:?}: choose another one"));
            }
        }
        Ok(Self { tokenizer: Arc::new(tokenizer), added: tokens.to_vec(), ..self.clone() })
    }

    /// Whether the vocabulary has a token.
    pub fn knows(&self, token: &str) -> bool {
        self.tokenizer.token_to_id(token).is_some()
    }

    /// Number of ids, of which the highest is one less.
    pub fn count(&self) -> u32 {
        self.tokenizer.get_vocab_size(true) as u32
    }

    /// A prompt in which each added token of several vectors is followed by the others: `x x_1 x_2` instead of `x`. As
    /// diffusers' `maybe_convert_prompt`, which finds a token in any case of its letters, and replaces it only in its
    /// own case.
    fn expanded<'a>(&self, prompt: &'a str) -> Result<Cow<'a, str>, String> {
        let mut prompt = Cow::Borrowed(prompt);
        if self.added.is_empty() {
            return Ok(prompt);
        }
        let encoding = self.tokenizer.encode(prompt.as_ref(), false).map_err(|e| e.to_string())?;
        for token in self.added.iter().filter(|token| encoding.get_tokens().contains(token)) {
            prompt = prompt.replace(token, &self.all_of(token).join(" ")).into();
        }
        Ok(prompt)
    }

    /// The tokens of an added token's vectors: `x`, `x_1`, `x_2`.
    fn all_of(&self, token: &str) -> Vec<String> {
        let next = |i: usize| {
            let next = format!("{token}_{i}");
            self.added.contains(&next).then_some(next)
        };
        [token.to_owned()].into_iter().chain((1..).map_while(next)).collect()
    }

    /// A text as it is compared with added tokens: composed, with single spaces and in small letters.
    ///
    /// # Errors
    /// The tokenizer's message, if it fails.
    pub fn normalized(&self, text: &str) -> Result<String, String> {
        let mut text = NormalizedString::from(text);
        if let Some(normalizer) = self.tokenizer.get_normalizer() {
            normalizer.normalize(&mut text).map_err(|e| e.to_string())?;
        }
        Ok(text.get().to_owned())
    }

    /// Number of ids of an encoded prompt: `model_max_length`.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The highest possible id.
    pub fn highest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Encodes a prompt: start token, ids, end token, padding. A long prompt is truncated before the end token. The
    /// prompt is private, so it is not logged.
    ///
    /// # Errors
    /// The tokenizer's message, if it fails.
    pub fn encode(&self, prompt: &str) -> Result<TokenIds, String> {
        let prompt = &*self.expanded(prompt)?;
        let encoding = self.tokenizer.encode_fast(prompt, false).map_err(|e| e.to_string())?;
        let words = encoding.get_ids();
        let untruncated = words.len() + 2;
        let kept = words.len().min(self.length - 2);
        let truncated = match kept < words.len() {
            true => Some(Truncated { used: kept, tokens: words.len(), rest: self.rest(prompt, kept)? }),
            false => None,
        };
        Ok(TokenIds { ids: self.framed(&words[..kept]), untruncated, truncated })
    }

    /// The token ids of a text of any length, without start and end tokens.
    ///
    /// # Errors
    /// The tokenizer's message, if it fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding =
            self.tokenizer.encode_fast(&*self.expanded(text)?, false).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`ClipTokenizer::tokens`], as AUTOMATIC1111's web UI reads it: the padding token, which is `!` in SDXL's second
    /// tokenizer, is a word like others.
    ///
    /// # Errors
    /// The tokenizer's message, if it fails.
    pub fn words(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.words.encode_fast(text, false).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The id of a comma that is a word, if the vocabulary has it.
    pub fn comma(&self) -> Option<u32> {
        self.comma
    }

    /// Start token, the first `model_max_length - 2` of the ids, end token, padding.
    pub fn framed(&self, tokens: &[u32]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.start);
        ids.extend(tokens.iter().take(self.length - 2));
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        ids
    }

    /// The start of the prompt's text after so many tokens. `prompt` is expanded; the text is as it was before.
    fn rest(&self, prompt: &str, tokens: usize) -> Result<String, String> {
        let encoding = self.tokenizer.encode(prompt, false).map_err(|e| e.to_string())?;
        let words: Vec<(&String, Vec<String>)> =
            self.added.iter().map(|token| (token, self.all_of(token))).collect();
        let is_invented = |token: &String| words.iter().any(|(_, all)| all[1..].contains(token));
        // A word that is read in part begins the rest.
        let names = encoding.get_tokens();
        let before = names.iter().take(tokens + 1).rev().take_while(|token| is_invented(token)).count();
        let first = encoding.get_offsets().get(tokens.saturating_sub(before));
        let start = first.map_or(prompt.len(), |(start, _)| *start);
        // A token may start inside a character.
        let start = (start..prompt.len()).find(|at| prompt.is_char_boundary(*at)).unwrap_or(prompt.len());
        let rest = prompt.get(start..).unwrap_or_default().trim_start();
        let as_sent = |rest: String, (token, all): &(&String, Vec<String>)| match all.len() {
            1 => rest,
            _ => rest.replace(&all.join(" "), token),
        };
        let rest = words.iter().fold(rest.to_owned(), as_sent);
        match rest.char_indices().nth(REST_SHOWN) {
            Some((end, _)) => Ok(format!("{}…", rest.get(..end).unwrap_or_default())),
            None => Ok(rest),
        }
    }
}

impl std::fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipTokenizer").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The pairs of `merges.txt`.
///
/// # Errors
/// The number of a line that is not a pair.
fn merges(text: &str) -> Result<Vec<(String, String)>, usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|(number, line)| match line.trim_end().split_once(' ') {
            Some((a, b)) if !b.contains(' ') => Ok((a.into(), b.into())),
            _ => Err(number + 1),
        })
        .collect()
}
