//! Jobs that go on from another request after one of its steps. The steps before are made again by that request; then
//! its conditioning, its guidance, and where they differ its sampler and its noise are replaced.

use candle_core::{DType, Device, Tensor};

use super::conditioning::{Conditioning, EncodedPrompt};
use super::denoising::{Guidance, SdxlDenoising};
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::sdxl::SdxlPipeline;
use super::second::Second;
use super::seeded_noise::SeededNoise;
use crate::schedulers::{Noise, Sampler};

/// How far two noise levels may be apart to be the same, as a share of them: they are rounded to f32 in some samplers.
const SAME: f64 = 1e-4;

/// What a request replaces after the steps of the one that it goes on from.
#[derive(Debug)]
pub(super) struct Switch {
    /// After so many steps of the job.
    after: usize,
    /// The steps of the first part that are left after it.
    left: usize,
    /// The sampler and its window; `None`: it goes on.
    sampler: Option<(Box<dyn Sampler>, Start)>,
    /// The noise of another seed; `None`: it goes on.
    noise: Option<SeededNoise>,
    guidance: Option<Guidance>,
    conditioning: Conditioning,
    positive: EncodedPrompt,
    negative: Option<EncodedPrompt>,
    second: Option<Second>,
}

/// Where another sampler begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    first: usize,
    end: usize,
    /// The noise level of the latents.
    from: Level,
    /// The level of its first step.
    to: Level,
}

/// Latents at a noise level: alpha * picture + sigma * noise.
#[derive(Debug, Clone, Copy)]
struct Level {
    alpha: f64,
    sigma: f64,
}

impl Level {
    /// The level of the latents before a step.
    fn of(sampler: &dyn Sampler, step: usize) -> candle_core::Result<Self> {
        let [zero, one] = [0.0_f32, 1.0].map(|value| Tensor::full(value, (1, 1, 1, 1), &Device::Cpu));
        let (zero, one) = (zero?, one?);
        let share = |latents: &Tensor, noise: &Tensor| -> candle_core::Result<f64> {
            let noisy = sampler.add_noise(step, latents, noise)?.to_dtype(DType::F64)?;
            noisy.flatten_all()?.get(0)?.to_scalar::<f64>()
        };
        Ok(Self { alpha: share(&one, &zero)?, sigma: share(&zero, &one)? })
    }

    /// The noise in relation to the picture.
    fn ratio(self) -> f64 {
        self.sigma / self.alpha
    }

    fn is_same(self, other: Self) -> bool {
        (self.ratio() - other.ratio()).abs() <= SAME * self.ratio()
    }

    /// Latents of this level at another one, by the estimate of the picture that gave them.
    fn moved(self, to: Self, latents: &Tensor, estimate: Option<&Tensor>) -> candle_core::Result<Tensor> {
        match estimate.filter(|_| !self.is_same(to)) {
            Some(picture) => {
                let noise = ((latents / self.alpha)? - picture)?;
                (picture + (noise * (to.ratio() / self.ratio()))?)? * to.alpha
            }
            // The same numbers, bit for bit.
            None if self.alpha == to.alpha => Ok(latents.clone()),
            None => latents * (to.alpha / self.alpha),
        }
    }
}

impl Start {
    /// The first step of `sampler` that is not above the level of `old` before its step `at`.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if no step is left.
    fn of(
        sampler: &dyn Sampler,
        end: usize,
        (old, at): (&dyn Sampler, usize),
    ) -> Result<Self, PipelineError> {
        let from = Level::of(old, at)?;
        for first in (0..end).step_by(sampler.calls_per_step()) {
            let to = Level::of(sampler, first)?;
            if to.ratio() <= from.ratio() * (1.0 + SAME) {
                return Ok(Self { first, end, from, to });
            }
        }
        let message =
            "leaves no step below the noise level of the step in from: name more steps, or an earlier step";
        Err(PipelineError::bad("num_inference_steps", message))
    }
}

impl SdxlPipeline {
    /// Begins a job, with all requests that it goes on from.
    pub(super) fn begin_whole(
        &self,
        inputs: &Inputs,
        interrupt: Interrupt<'_>,
    ) -> Result<SdxlDenoising, PipelineError> {
        let mut chain = vec![inputs];
        while let Some(from) = chain.last().and_then(|request| request.from.as_ref()) {
            chain.push(&from.inputs);
        }
        let mut requests = chain.into_iter().rev();
        let Some(first) = requests.next() else { return self.begin_new(inputs, interrupt) };
        let mut job = self.begin_new(first, interrupt)?;
        let mut last = first;
        for request in requests {
            let next = self.begin_new(request, interrupt)?;
            let after = request.from.as_ref().map_or(0, |from| from.step + 1);
            job.add(next, after, [last, request])?;
            last = request;
        }
        Ok(job)
    }
}

impl SdxlDenoising {
    /// Adds what `next`, the begun job of another request, replaces after so many steps. `inputs`: the request before it,
    /// and its own.
    fn add(&mut self, next: Self, after: usize, inputs: [&Inputs; 2]) -> Result<(), PipelineError> {
        let [old, new] = inputs;
        let bad = |message: String| PipelineError::bad("from", message);
        // The steps that its own sampler has done by then, and all of the first part.
        let all = self.switches.back().map_or(self.end - self.first, |switch| switch.after + switch.left);
        if after >= all {
            let step = after.saturating_sub(1);
            return Err(bad(match self.second {
                Some(_) => format!(
                    "step {step} is not before the second part of the job, and only there can it go on"
                ),
                None => format!(
                    "step {step} is not before the last of {all} steps, so none is left: name an earlier one"
                ),
            }));
        }
        let same_sampler =
            old.scheduler == new.scheduler && old.num_inference_steps == new.num_inference_steps;
        let same_noise = (old.seed, &old.seeds, old.generator) == (new.seed, &new.seeds, new.generator);
        if next.latents.dims() != self.latents.dims() {
            return Err(bad("the size and the number of the pictures cannot change there".to_owned()));
        }
        let (left, sampler) = match same_sampler {
            true => (all - after, None),
            false => {
                let at = self.sampler_after(after);
                let start = Start::of(next.sampler.as_ref(), next.end, at)?;
                (start.end - start.first, Some((next.sampler, start)))
            }
        };
        self.warnings = next.warnings;
        self.text_time.end = next.text_time.end;
        self.switches.push_back(Switch {
            after,
            left,
            sampler,
            noise: (!same_noise).then_some(next.noise),
            guidance: next.guidance,
            conditioning: next.conditioning,
            positive: next.positive,
            negative: next.negative,
            second: next.second,
        });
        Ok(())
    }

    /// The sampler of the step after so many of the first part, and the step.
    fn sampler_after(&self, steps: usize) -> (&dyn Sampler, usize) {
        let replaced = self.switches.iter().rev().find_map(|switch| {
            let (sampler, start) = switch.sampler.as_ref()?;
            Some((sampler.as_ref(), start.first + steps - switch.after))
        });
        replaced.unwrap_or((self.sampler.as_ref(), self.first + steps))
    }

    /// Number of steps of the first part that are done.
    fn done(&self) -> usize {
        self.before + self.step - self.first
    }

    /// Goes on with the next request, if its step has come.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if another sampler would begin in the middle of a step; or the device fails.
    pub(super) fn switch(&mut self) -> Result<(), PipelineError> {
        while !self.in_second && self.switches.front().is_some_and(|switch| switch.after == self.done()) {
            let Some(switch) = self.switches.pop_front() else { return Ok(()) };
            if let Some((_, start)) = &switch.sampler {
                if self.sampler.is_between() {
                    let message = "the sampler is in the middle of a step there, so another one cannot go on: name the \
                                   step before or after it, or leave scheduler and num_inference_steps as they were";
                    return Err(PipelineError::bad("from", message));
                }
                self.latents = start.from.moved(start.to, &self.latents, self.denoised())?;
            }
            self.take(switch)?;
        }
        Ok(())
    }

    /// Goes on with the next request; a checkpoint replaces the latents.
    ///
    /// # Errors
    /// If there is none, or the device fails.
    pub(super) fn skip_to_switch(&mut self) -> Result<(), String> {
        let switch = self.switches.pop_front().ok_or("it is for a job that goes on from more requests")?;
        self.step = self.first + switch.after - self.before;
        self.take(switch).map_err(|error| error.to_string())
    }

    fn take(&mut self, switch: Switch) -> candle_core::Result<()> {
        let Switch { sampler, noise, guidance, conditioning, positive, negative, second, .. } = switch;
        if let Some((sampler, Start { first, end, .. })) = sampler {
            self.before += self.step - self.first;
            (self.step, self.first, self.end) = (first, first, end);
            self.sampler = sampler;
        }
        if let Some(mut noise) = noise {
            // As many draws as there were: the noise that this seed has at this place.
            while noise.draws < self.noise.draws {
                noise.draw()?;
            }
            self.noise = noise;
        }
        (self.guidance, self.conditioning) = (guidance, conditioning);
        (self.positive, self.negative, self.second) = (positive, negative, second);
        self.switched += 1;
        Ok(())
    }

    /// Number of steps of the first part.
    pub(super) fn first_part(&self) -> usize {
        let own = self.before + self.end - self.first;
        self.switches.back().map_or(own, |switch| switch.after + switch.left)
    }

    /// What follows the first part.
    pub(super) fn second_part(&self) -> Option<&Second> {
        self.switches.back().map_or(self.second.as_ref(), |switch| switch.second.as_ref())
    }
}
