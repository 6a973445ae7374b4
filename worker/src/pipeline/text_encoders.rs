//! The text encoders of a checkpoint.

use std::rc::Rc;

use super::residence::Residence;
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
