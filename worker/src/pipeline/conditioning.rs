//! Encodes prompts to the UNet's conditioning, as `encode_prompt` of diffusers' `StableDiffusionXLPipeline`.

use std::rc::Rc;

use candle_core::{DType, Tensor};

use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::residence::Residence;
use super::warning::PipelineWarning;
use crate::sdxl::clip::ClipTextModel;
use crate::sdxl::tokenizer::ClipTokenizer;

/// The tokenizers and text encoders of a checkpoint.
#[derive(Debug)]
pub(super) struct TextEncoders {
    pub(super) tokenizers: [ClipTokenizer; 2],
    pub(super) encoders: [ClipTextModel; 2],
    /// Where the weights of both encoders are.
    pub(super) residence: Rc<Residence>,
    /// A missing negative prompt is encoded as zeros, not as the empty text.
    pub(super) force_zeros_for_empty_prompt: bool,
}

/// One prompt, encoded by both encoders.
#[derive(Debug, Clone)]
pub struct EncodedPrompt {
    /// Padded ids of both tokenizers; `None` if zeros replace the prompt.
    pub input_ids: Option<[Vec<u32>; 2]>,
    /// Hidden states of both encoders, [1, T, D1 + D2].
    pub embeds: Tensor,
    /// Pooled embedding of the second encoder, [1, P].
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
        interrupt: Interrupt<'_>,
    ) -> Result<EncodedPrompts, PipelineError> {
        self.residence.visited(|| self.encode_here(inputs, interrupt))
    }

    fn encode_here(
        &self,
        inputs: &Inputs,
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
        let tokens = self.tokens("prompt", [&inputs.prompt, &prompt_2])?;
        let mut warnings = Vec::from_iter(tokens.warning);
        let positive = self.encode_one(tokens.ids, skip, interrupt)?;
        if !inputs.guided() {
            return Ok(EncodedPrompts { positive, negative: None, warnings });
        }
        let negative = match &inputs.negative_prompt {
            None if self.force_zeros_for_empty_prompt => EncodedPrompt {
                input_ids: None,
                embeds: positive.embeds.zeros_like()?,
                pooled: positive.pooled.zeros_like()?,
            },
            negative => {
                let first = negative.as_deref().unwrap_or("");
                let second = or_first(&inputs.negative_prompt_2, first);
                let tokens = self.tokens("negative_prompt", [first, &second])?;
                warnings.extend(tokens.warning);
                // `clip_skip` applies only to the prompt.
                self.encode_one(tokens.ids, 0, interrupt)?
            }
        };
        Ok(EncodedPrompts { positive, negative: Some(negative), warnings })
    }

    fn tokens(&self, field: &'static str, prompts: [&str; 2]) -> Result<Tokens, PipelineError> {
        let tokens = |i: usize| {
            self.tokenizers[i].encode(prompts[i]).map_err(|message| PipelineError::bad(field, message))
        };
        let [first, second] = [tokens(0)?, tokens(1)?];
        let by = [first.truncated, second.truncated];
        let warning =
            by.iter().any(Option::is_some).then_some(PipelineWarning::PromptTruncated { field, by });
        Ok(Tokens { ids: [first.ids, second.ids], warning })
    }

    fn encode_one(
        &self,
        ids: [Vec<u32>; 2],
        skip: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<EncodedPrompt, PipelineError> {
        interrupt.check()?;
        let first = self.encoders[0].forward(&ids[0])?;
        interrupt.check()?;
        let second = self.encoders[1].forward(&ids[1])?;
        // The input of the last layer, or of the layer `skip` layers earlier, without the final norm.
        let hidden = |states: &[Tensor]| states[states.len() - 2 - skip].clone();
        let embeds = Tensor::cat(&[hidden(&first.hidden_states), hidden(&second.hidden_states)], 2)?;
        Ok(EncodedPrompt { input_ids: Some(ids), embeds, pooled: second.pooled })
    }
}

/// One prompt in both tokenizers.
struct Tokens {
    ids: [Vec<u32>; 2],
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
    pub(super) time_ids: Vec<[f32; 6]>,
}

impl Conditioning {
    /// Repeats the prompt for each picture.
    pub(super) fn new(
        inputs: &Inputs,
        positive: &EncodedPrompt,
        negative: Option<&EncodedPrompt>,
        dtype: DType,
    ) -> Result<Self, PipelineError> {
        let pictures = inputs.num_images_per_prompt;
        let halves: Vec<_> = negative.into_iter().chain([positive]).collect();
        let repeated = |part: fn(&EncodedPrompt) -> &Tensor| {
            let all: Vec<_> = halves.iter().flat_map(|h| std::iter::repeat_n(part(h), pictures)).collect();
            Tensor::cat(&all, 0)?.to_dtype(dtype)
        };
        let (own, avoided) = inputs.time_ids();
        // As diffusers: the rows alternate between negative and positive, although the embeddings have all
        // negatives first.
        let pair = if negative.is_some() { vec![avoided, own] } else { vec![own] };
        Ok(Self {
            embeds: repeated(|h| &h.embeds)?,
            pooled: repeated(|h| &h.pooled)?,
            time_ids: match &inputs.image {
                None => pair.repeat(pictures),
                // Image-to-image has all negatives first.
                Some(_) => pair.iter().flat_map(|row| std::iter::repeat_n(*row, pictures)).collect(),
            },
        })
    }
}
