//! The text encoders of a checkpoint.

use std::rc::Rc;

use super::residence::Residence;
use crate::sdxl::clip::ClipTextModel;
use crate::sdxl::tokenizer::ClipTokenizer;

/// The tokenizers and text encoders of a checkpoint: as many of both, two of SDXL base and one of a refiner.
#[derive(Debug)]
pub(super) struct TextEncoders {
    pub(super) tokenizers: Vec<ClipTokenizer>,
    pub(super) encoders: Vec<ClipTextModel>,
    /// Where the weights of the encoders are.
    pub(super) residence: Rc<Residence>,
    /// A missing negative prompt is encoded as zeros, not as the empty text.
    pub(super) force_zeros_for_empty_prompt: bool,
}
