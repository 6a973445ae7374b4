//! Jobs that go on from another request after one of its steps. The steps before are made again by that request; then
//! its conditioning, its guidance, and where they differ its sampler and its noise are replaced.

use super::denoising::SdxlDenoising;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::sdxl::SdxlPipeline;
use super::second::Second;
use super::switch::{Start, Switch};
use crate::schedulers::{Noise, Sampler};

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
