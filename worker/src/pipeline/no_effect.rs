//! Which parts of a request have no effect in a job.

use std::ops::Range;

use super::conditioning::EncodedPrompt;
use super::embeddings::{Readings, RequestedEmbedding};
use super::inputs::{Inputs, SizeRule};
use super::sdxl::SdxlPipeline;
use super::warning::PipelineWarning;
use super::window::Window;

impl Readings {
    /// The embeddings of the request whose words are in none of the prompts, or for which the model has no encoder.
    pub(super) fn unread<'a>(
        &self,
        prompts: impl Iterator<Item = &'a EncodedPrompt> + Clone,
    ) -> Vec<PipelineWarning> {
        let unread = self.embeddings.iter().filter(|embedding| {
            let is_own = |(ids, own): (&Vec<u32>, &Range<u32>)| ids.iter().any(|id| own.contains(id));
            let mut encoded = prompts.clone().filter_map(|prompt| prompt.input_ids.as_ref());
            !encoded.any(|encoders| encoders.iter().zip(&embedding.ids).any(is_own))
        });
        let warning = |embedding: &RequestedEmbedding| PipelineWarning::EmbeddingIgnored {
            name: embedding.name.clone(),
            tokens: embedding.tokens.clone(),
            fits: embedding.ids.iter().any(|ids| !ids.is_empty()),
        };
        unread.map(warning).collect()
    }
}

impl SdxlPipeline {
    /// The ControlNets and the aesthetic scores that have no effect in a job whose first part has these of `all` steps.
    pub(super) fn without_effect(&self, inputs: &Inputs, window: Window, all: usize) -> Vec<PipelineWarning> {
        // As diffusers: the windows of ControlNets count steps after `denoising_end` too.
        let steps = all - window.first;
        let idle = inputs
            .controlnets
            .iter()
            .filter(|choice| !(0..window.len()).any(|step| choice.covers(step, steps)));
        let controlnet = idle.map(|choice| PipelineWarning::ControlNetIgnored {
            name: choice.name.clone(),
            window: [choice.start, choice.end],
            steps,
        });
        let refiner = self.refiner.as_ref().map(|refiner| refiner.sizes);
        let told = |rule: Option<SizeRule>| rule == Some(SizeRule::Scores);
        let is_told = told(Some(self.sizes(inputs))) || (inputs.refined && told(refiner));
        let given = [inputs.aesthetic_score, inputs.negative_aesthetic_score].iter().any(Option::is_some);
        let has_refiner = told(refiner) && !inputs.refined;
        let scores = (given && !is_told).then_some(PipelineWarning::ScoresIgnored { has_refiner });
        controlnet.chain(scores).collect()
    }
}
