//! Jobs that go on from what another job had after one of its steps.

use serde_json::{Value, json};

use super::{
    field_error::FieldError,
    pictures::Original,
    scheduler_config::listed_steps,
    spec::{Branch, ImageSpec},
};

/// How many requests at most made the steps of a job before its own.
pub const MAX_BRANCHES: usize = 8;

/// The version of a recipe's form.
pub const RECIPE_VERSION: u32 = 1;

/// The kind of an error about a step that the other job did not make.
pub const STEP_NOT_REACHED: &str = "step_not_reached";

/// The samplers that call the UNet twice for each step but the last.
const TWO_CALLS: [&str; 4] = [
    "DPMSolverSDEScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
];

/// The members of a request that are about its pictures. A branch has those of its job.
pub(super) const OF_PICTURES: [&str; 5] = ["image", "mask", "strength", "padding_mask_crop", "controlnets"];

impl ImageSpec {
    /// Where the job goes on from another one.
    pub fn branch(&self) -> Option<&Branch> {
        self.from.as_ref()
    }

    /// The requests that make the steps before those of this one, the newest first.
    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        std::iter::successors(self.from.as_ref(), |branch| branch.request.from.as_ref())
    }

    /// Whether the sampler takes the same steps for both requests.
    pub(super) fn samples_as(&self, other: &Self) -> bool {
        self.scheduler == other.scheduler
            && self.scheduler_config == other.scheduler_config
            && self.num_inference_steps == other.num_inference_steps
    }

    /// How many steps a branch takes: those of the other job, and the share of its own that is left. What share it is
    /// depends on the noise levels, so this is only near the number if the sampler or the steps differ.
    pub(super) fn branched_steps(&self, own: u32) -> u32 {
        let Some(Branch { request, step }) = &self.from else { return own };
        if self.samples_as(request) {
            return own;
        }
        let (made, all) = (step + 1, Original::steps(self.strength(), request.num_inference_steps).max(1));
        let left = f64::from(all.saturating_sub(made)) / f64::from(all);
        made + ((f64::from(own) * left).ceil() as u32).max(1)
    }

    /// The calls of the UNet in the first pass, if they are known: a checkpoint's own sampler is not.
    fn calls(&self, strength: f64) -> Option<u32> {
        let steps = Original::steps(strength, self.num_inference_steps);
        match self.scheduler.as_deref()? {
            two if TWO_CALLS.contains(&two) => Some((2 * steps).saturating_sub(1)),
            "PNDMScheduler" => None,
            _ => Some(steps),
        }
    }

    /// What is wrong with a request that goes on from another one after a step.
    pub(super) fn branch_errors(&self, request: &Self, step: u32) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut same = |field: &str, new: Value, old: Value| {
            if new != old {
                let msg = "Input should be that of the request it goes on from: it cannot change there";
                errors.push(
                    FieldError::body(field, "unchangeable", msg, &new).with_ctx(json!({ "expected": old })),
                );
            }
        };
        same("width", json!(self.width), json!(request.width));
        same("height", json!(self.height), json!(request.height));
        same("num_images", json!(self.num_images), json!(request.num_images));
        if self.seeds.is_empty() != request.seeds.is_empty() {
            let field = if self.seeds.is_empty() { "seed" } else { "seeds" };
            let both = [self, request]
                .map(|one| if one.seeds.is_empty() { json!(one.seed) } else { json!(one.seeds) });
            let [new, old] = both;
            same(field, new, old);
        }
        same("loras", json!(self.loras), json!(request.loras));
        same("embeddings", json!(self.embeddings), json!(request.embeddings));
        same("denoising_end", json!(self.parts.denoising_end), json!(request.parts.denoising_end));
        same("hires", json!(self.parts.hires), json!(request.parts.hires));
        errors.extend(self.step_error(request, step));
        errors
    }

    fn step_error(&self, request: &Self, step: u32) -> Option<FieldError> {
        let at = ["from", "step"].map(|name| super::field_error::Loc::Name(name.to_owned()));
        let wrong = |kind, msg: String| Some(FieldError::within_body(at, kind, msg, &step.into()));
        let strength = self.strength();
        let steps = Original::steps(strength, request.num_inference_steps);
        let (known, made) = (request.calls(strength), step + 1);
        if known.is_some_and(|calls| made > calls) {
            let msg = match request.parts.hires {
                Some(_) => {
                    format!("Step {step} is one of the second pass, and a job goes on only in the first")
                }
                None => format!("The job that it goes on from has no step {step}"),
            };
            let kind = if request.parts.hires.is_some() { "second_pass" } else { STEP_NOT_REACHED };
            return wrong(kind, msg);
        }
        if made == known.unwrap_or(steps) {
            let msg = format!(
                "Step {step} is the last one, so no step is left to go on with: name an earlier step"
            );
            return wrong("no_step_left", msg);
        }
        let is_between =
            request.scheduler.as_deref().is_some_and(|name| TWO_CALLS.contains(&name)) && made % 2 == 1;
        if !is_between || self.samples_as(request) {
            return None;
        }
        let (field, value) = match () {
            () if self.scheduler != request.scheduler => ("scheduler", json!(self.scheduler)),
            () if listed_steps(&self.scheduler_config).is_none()
                && self.num_inference_steps != request.num_inference_steps =>
            {
                ("num_inference_steps", json!(self.num_inference_steps))
            }
            () => ("scheduler_config", json!(self.scheduler_config)),
        };
        let name = request.scheduler.as_deref().unwrap_or_default();
        let msg = format!(
            "It cannot change after step {step}, which is in the middle of a step of {name}: go on from step {} or {made}, \
             or leave it out",
            step.saturating_sub(1)
        );
        Some(FieldError::body(field, "mid_step", msg, &value))
    }
}
