//! Encodes prompts to the UNet's conditioning, as `encode_prompt` of diffusers' `StableDiffusionXLPipeline`.

use candle_core::{DType, Device, Tensor};
use glimpse_shared::prompt::{Prompt, PromptSyntax, Side};

use super::chunks::{Chunk, MAX_CHUNKS, a1111, plain};
use super::embeddings::{Reading, Readings};
use super::error::PipelineError;
use super::inputs::{HeightWidth, Inputs, SizeRule};
use super::interrupt::Interrupt;
use super::text_encoders::TextEncoders;
use super::warning::PipelineWarning;
use crate::sdxl::ops;

/// One prompt, encoded by all encoders.
#[derive(Debug, Clone)]
pub struct EncodedPrompt {
    /// Padded ids of each tokenizer, T each; `None` if zeros replace the prompt.
    pub input_ids: Option<Vec<Vec<u32>>>,
    /// Hidden states of all encoders, [1, T, D1 + D2]. T is a multiple of what the encoders read at once.
    pub embeds: Tensor,
    /// Pooled embedding of the last encoder, of the first chunk: [1, P].
    pub pooled: Tensor,
}

/// Both prompts of a job.
pub(super) struct EncodedPrompts {
    pub(super) positive: EncodedPrompt,
    /// The negative prompt, if there is guidance.
    pub(super) negative: Option<EncodedPrompt>,
    pub(super) warnings: Vec<PipelineWarning>,
}

impl TextEncoders {
    /// Encodes the prompt, and the negative prompt if there is guidance.
    pub(super) fn encode(
        &self,
        inputs: &Inputs,
        readings: &Readings,
        interrupt: Interrupt<'_>,
    ) -> Result<EncodedPrompts, PipelineError> {
        let encoded = self.residence.visited(|| self.encode_here(inputs, readings, interrupt))?;
        if readings.has_embeddings() {
            for prompt in [Some(&encoded.positive), encoded.negative.as_ref()].into_iter().flatten() {
                if !(ops::is_finite(&prompt.embeds)? && ops::is_finite(&prompt.pooled)?) {
                    let message = "with them the encoded prompt is not finite: use other files";
                    return Err(PipelineError::bad("embeddings", message));
                }
            }
        }
        Ok(encoded)
    }

    fn encode_here(
        &self,
        inputs: &Inputs,
        readings: &Readings,
        interrupt: Interrupt<'_>,
    ) -> Result<EncodedPrompts, PipelineError> {
        let or_first = |second: &Option<String>, first: &str| match second.as_deref() {
            None | Some("") => first.to_owned(),
            Some(second) => second.to_owned(),
        };
        let skip = inputs.clip_skip.unwrap_or(0);
        let shallowest = self.encoders.iter().map(|e| e.config().num_hidden_layers).min().unwrap_or(0);
        if skip >= shallowest {
            let message = format!("{skip} is too large: a text encoder has {shallowest} layers");
            return Err(PipelineError::bad("clip_skip", message));
        }
        let prompt_2 = or_first(&inputs.prompt_2, &inputs.prompt);
        let tokens = self.tokens(inputs, readings, Side::Positive, [&inputs.prompt, &prompt_2])?;
        let mut warnings = Vec::from_iter(tokens.warning);
        let mut positive = self.encode_one(tokens.chunks, readings, skip, interrupt)?;
        if !inputs.guided() {
            return Ok(EncodedPrompts { positive, negative: None, warnings });
        }
        // The web UI has zeros for an empty negative prompt, diffusers only for a missing one.
        let is_empty = inputs.prompt_syntax == PromptSyntax::A1111
            && [&inputs.negative_prompt, &inputs.negative_prompt_2]
                .iter()
                .all(|negative| negative.as_deref().unwrap_or_default().is_empty());
        let mut negative = match &inputs.negative_prompt {
            negative if is_empty || (negative.is_none() && self.force_zeros_for_empty_prompt) => {
                let first = positive.embeds.narrow(1, 0, self.tokenizers[0].length())?;
                EncodedPrompt {
                    input_ids: None,
                    embeds: first.zeros_like()?,
                    pooled: positive.pooled.zeros_like()?,
                }
            }
            negative => {
                let first = negative.as_deref().unwrap_or("");
                let second = or_first(&inputs.negative_prompt_2, first);
                let tokens = self.tokens(inputs, readings, Side::Negative, [first, &second])?;
                warnings.extend(tokens.warning);
                // `clip_skip` applies only to the prompt.
                self.encode_one(tokens.chunks, readings, 0, interrupt)?
            }
        };
        self.lengthen(&mut positive, &negative, readings, skip, interrupt)?;
        self.lengthen(&mut negative, &positive, readings, 0, interrupt)?;
        Ok(EncodedPrompts { positive, negative: Some(negative), warnings })
    }

    /// The chunks of a prompt: one, unless the request's syntax or `long_prompt` allows several.
    fn tokens(
        &self,
        inputs: &Inputs,
        readings: &Readings,
        side: Side,
        prompts: [&str; 2],
    ) -> Result<Tokens, PipelineError> {
        let field = match side {
            Side::Positive => "prompt",
            Side::Negative => "negative_prompt",
        };
        let bad = |message: String| PipelineError::bad(field, message);
        if inputs.prompt_syntax.is_plain() && !inputs.long_prompt {
            let tokens = |(reading, prompt): (&Reading, &str)| reading.tokenizer.encode(prompt).map_err(bad);
            let all = readings.encoders.iter().zip(prompts).map(tokens).collect::<Result<Vec<_>, _>>()?;
            // A single encoder is the whole model.
            let by = [0, 1].map(|i| all.get(i).or(all.first()).and_then(|tokens| tokens.truncated.clone()));
            let warning =
                by.iter().any(Option::is_some).then_some(PipelineWarning::PromptTruncated { field, by });
            let chunk = |ids| vec![Chunk { ids, weights: None }];
            return Ok(Tokens { chunks: all.into_iter().map(|tokens| chunk(tokens.ids)).collect(), warning });
        }
        let chunks = |(reading, prompt): (&Reading, &str)| {
            let chunks = match inputs.prompt_syntax {
                PromptSyntax::Plain => plain(&reading.tokenizer, prompt).map_err(bad)?,
                PromptSyntax::A1111 => {
                    let prompt = Prompt::parse(prompt, side).map_err(|error| bad(error.to_string()))?;
                    a1111(reading, &prompt.parts).map_err(bad)?
                }
            };
            let (count, size) = (chunks.len(), reading.tokenizer.length() - 2);
            if count > MAX_CHUNKS {
                return Err(bad(format!(
                    "is too long: it has {count} chunks of {size} tokens, and at most {MAX_CHUNKS} are read"
                )));
            }
            Ok(chunks)
        };
        let mut chunks = readings.encoders.iter().zip(prompts).map(chunks).collect::<Result<Vec<_>, _>>()?;
        let most = chunks.iter().map(Vec::len).max().unwrap_or(1);
        for (chunks, tokenizer) in chunks.iter_mut().zip(&self.tokenizers) {
            chunks.resize(most, Chunk::empty(tokenizer));
        }
        Ok(Tokens { chunks, warning: None })
    }

    /// Adds chunks of the empty text, until a prompt is as long as the other.
    fn lengthen(
        &self,
        prompt: &mut EncodedPrompt,
        other: &EncodedPrompt,
        readings: &Readings,
        skip: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<(), PipelineError> {
        let missing = other.embeds.dim(1)?.saturating_sub(prompt.embeds.dim(1)?);
        if missing == 0 {
            return Ok(());
        }
        let chunks = self.tokenizers.iter().map(|tokenizer| vec![Chunk::empty(tokenizer)]).collect();
        let empty = self.encode_one(chunks, readings, skip, interrupt)?;
        for _ in 0..missing / empty.embeds.dim(1)? {
            prompt.embeds = Tensor::cat(&[&prompt.embeds, &empty.embeds], 1)?;
            if let (Some(ids), Some(more)) = (&mut prompt.input_ids, &empty.input_ids) {
                ids.iter_mut().zip(more).for_each(|(ids, more)| ids.extend(more));
            }
        }
        Ok(())
    }

    /// Encodes chunks, as many for each encoder.
    fn encode_one(
        &self,
        chunks: Vec<Vec<Chunk>>,
        readings: &Readings,
        skip: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<EncodedPrompt, PipelineError> {
        let (mut pooled, mut halves) = (None, Vec::with_capacity(2));
        let encoders = self.encoders.iter().zip(&readings.encoders);
        for (chunks, (encoder, reading)) in chunks.iter().zip(encoders) {
            let (mut hidden, mut first) = (Vec::with_capacity(chunks.len()), None);
            for chunk in chunks {
                interrupt.check()?;
                let encoded = encoder.forward_with(&chunk.ids, reading.more.as_ref())?;
                // The input of the last layer, or of the layer `skip` layers earlier, without the final norm.
                let states = &encoded.hidden_states[encoded.hidden_states.len() - 2 - skip];
                hidden.push(match &chunk.weights {
                    None => states.clone(),
                    Some(weights) => emphasized(states, weights)?,
                });
                first.get_or_insert(encoded.pooled);
            }
            halves.push(Tensor::cat(&hidden, 1)?);
            pooled = first;
        }
        let ids = chunks.into_iter().map(|chunks| chunks.into_iter().flat_map(|chunk| chunk.ids).collect());
        let ids = ids.collect();
        let pooled = pooled.ok_or_else(|| PipelineError::fault("a prompt without chunks"))?;
        Ok(EncodedPrompt { input_ids: Some(ids), embeds: Tensor::cat(&halves, 2)?, pooled })
    }
}

/// Hidden states [1, T, D] times the weights of their T tokens, and then times a number that restores their mean
/// (`EmphasisOriginal` in `modules/sd_emphasis.py` of AUTOMATIC1111's web UI).
fn emphasized(states: &Tensor, weights: &[f64]) -> Result<Tensor, PipelineError> {
    let (_, tokens, width) = states.dims3()?;
    let values: Vec<f64> = states.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let weighted: Vec<f64> =
        values.chunks(width).zip(weights).flat_map(|(row, w)| row.iter().map(move |x| x * w)).collect();
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let restore = sum(&values) / sum(&weighted);
    if !restore.is_finite() {
        return Err(PipelineError::bad("prompt", "the weights leave nothing of the prompt: use others"));
    }
    let restored: Vec<f64> = weighted.into_iter().map(|x| x * restore).collect();
    let restored = Tensor::from_vec(restored, (1, tokens, width), &Device::Cpu)?.to_dtype(states.dtype())?;
    Ok(restored.to_device(states.device())?)
}

/// One prompt in each tokenizer: as many chunks.
struct Tokens {
    chunks: Vec<Vec<Chunk>>,
    warning: Option<PipelineWarning>,
}

/// The UNet's conditioning for every step of a job, negative half first. B pictures; G = 2 with guidance, otherwise 1.
#[derive(Debug, Clone)]
pub(super) struct Conditioning {
    /// Text embeddings, [G B, T, D].
    pub(super) embeds: Tensor,
    /// Pooled embeddings, [G B, P].
    pub(super) pooled: Tensor,
    /// Size conditioning, G B rows.
    pub(super) time_ids: Vec<Vec<f32>>,
}

impl Conditioning {
    /// Repeats the prompt for each picture. `size` is that of the pictures.
    pub(super) fn new(
        inputs: &Inputs,
        (positive, negative): (&EncodedPrompt, Option<&EncodedPrompt>),
        size: HeightWidth,
        sizes: SizeRule,
        dtype: DType,
    ) -> Result<Self, PipelineError> {
        let pictures = inputs.num_images_per_prompt;
        let halves: Vec<_> = negative.into_iter().chain([positive]).collect();
        let repeated = |part: fn(&EncodedPrompt) -> &Tensor| {
            let all: Vec<_> = halves.iter().flat_map(|h| std::iter::repeat_n(part(h), pictures)).collect();
            Tensor::cat(&all, 0)?.to_dtype(dtype)
        };
        let (own, avoided) = inputs.time_ids(size, sizes);
        // As diffusers: the rows alternate between negative and positive, although the embeddings have all
        // negatives first.
        let pair = if negative.is_some() { vec![avoided, own] } else { vec![own] };
        Ok(Self {
            embeds: repeated(|h| &h.embeds)?,
            pooled: repeated(|h| &h.pooled)?,
            time_ids: match sizes {
                SizeRule::TextToImage if inputs.seeds.is_empty() => {
                    std::iter::repeat_n(pair, pictures).flatten().collect()
                }
                // Image-to-image has all negatives first, and so has a picture that is made as if it were alone.
                _ => pair.into_iter().flat_map(|row| std::iter::repeat_n(row, pictures)).collect(),
            },
        })
    }
}
