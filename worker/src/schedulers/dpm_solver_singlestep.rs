//! diffusers' `DPMSolverSinglestepScheduler` (`scheduling_dpmsolver_singlestep.py`): DPM-Solver++ of order 1 to 3 in
//! groups of steps (Lu et al. 2022, "DPM-Solver++", algorithm 1). Within a group each step begins again at the group's
//! first latents, with an order more.

use candle_core::Tensor;

use super::dpm_solver::Choice;
use super::multistep::{Estimates, LevelTables, Rules};
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// The name of the group's first latents in [`Sampler::state`].
const START: &str = "start";

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct DpmSolverSinglestep {
    tables: LevelTables,
    choice: Choice,
    /// The order of each step.
    orders: Vec<usize>,
    estimates: Estimates,
    /// The latents at the beginning of the group.
    start: Option<Tensor>,
}

impl DpmSolverSinglestep {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let choice = Choice::read(s)?;
        let tables = LevelTables::new(s, steps, Rules::Singlestep)?;
        let no_noise = tables.sigmas.last() == Some(&0.0);
        let lower = s.or("lower_order_final", false)?;
        // As in diffusers, which turns it on where the groups would not fit or the last level has no noise.
        let lower = lower || no_noise || !steps.is_multiple_of(choice.order);
        let mut orders: Vec<usize> = (0..steps).map(|step| step % choice.order + 1).collect();
        if lower && choice.order > 1 {
            // The last group ends with a step of order 1.
            let rest = match (choice.order, steps % choice.order) {
                (2, 0) => vec![1, 1],
                (3, 0) => vec![1, 2, 1],
                (3, 2) => vec![1, 2],
                _ => vec![1],
            };
            orders.truncate(steps.saturating_sub(rest.len()));
            orders.extend(rest);
        }
        if let (Some(last), true) = (orders.last_mut(), no_noise) {
            *last = 1;
        }
        Ok(Self { tables, choice, orders, estimates: Estimates::default(), start: None })
    }

    /// The estimate's change over the group, divided by its lambda: the first term of the Taylor series, and for order
    /// 3 of Heun's form the second. `h` is the length of the whole step.
    fn changes(&self, step: usize, order: usize, h: f64) -> candle_core::Result<(Tensor, Option<Tensor>)> {
        let lambda = |back: usize| self.tables.level(step - back).lambda;
        let oldest = &self.estimates[order - 1];
        let r0 = (lambda(0) - lambda(order - 1)) / h;
        let newest = ((&self.estimates[0] - oldest)? / r0)?;
        if order == 2 || !self.choice.heun {
            return Ok((newest, None));
        }
        let r1 = (lambda(1) - lambda(2)) / h;
        let middle = ((&self.estimates[1] - oldest)? / r1)?;
        let first = (((&middle * r0)? - (&newest * r1)?)? / (r0 - r1))?;
        Ok((first, Some(((newest - middle)? * (2.0 / (r0 - r1)))?)))
    }
}

impl Sampler for DpmSolverSinglestep {
    fn timesteps(&self) -> &[f64] {
        &self.tables.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.tables.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        self.tables.init_noise_sigma()
    }

    fn input_scale(&self, step: usize) -> f64 {
        self.tables.input_scale(step)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        self.tables.add_noise(step, latents, noise)
    }

    fn state(&self) -> SamplerState {
        let mut state = self.estimates.state();
        state.extend(self.start.iter().map(|start| (START.to_owned(), start.clone())));
        state
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.estimates = Estimates::restore(&mut state, taken, self.choice.order)?;
        self.start = state.remove(START);
        if self.start.is_some() != (taken > 0) {
            return Err(format!("it has the wrong number of tensors after {taken} steps"));
        }
        all_taken(&state)
    }

    /// Symbols as in the paper: s is the group's first level, t the next one, h = lambda_t - lambda_s.
    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let denoised = self.tables.denoise(step, prediction, sample)?;
        self.estimates.push(denoised.clone(), self.choice.order);
        // A job that begins in the middle of a group has fewer estimates.
        let order = self.orders[step].min(self.estimates.len());
        let start = match self.start.take() {
            Some(start) if order > 1 => start,
            _ => sample.clone(),
        };
        let (s, t) = (self.tables.level(step + 1 - order), self.tables.level(step + 1));
        let h = t.lambda - s.lambda;
        let stochastic = self.choice.stochastic;
        // The stochastic form integrates over 2 h.
        let g = if stochastic { 2.0 * h } else { h };
        let decay = (-g).exp();
        let scale = t.sigma / s.sigma * if stochastic { (-h).exp() } else { 1.0 };
        let oldest = &self.estimates[order - 1];
        let mut next = ((&start * scale)? + (oldest * (t.alpha * (1.0 - decay)))?)?;
        if order >= 2 {
            let (first, second) = self.changes(step, order, h)?;
            let midpoint = order == 2 && !self.choice.heun;
            let taylor = if midpoint { 0.5 * (1.0 - decay) } else { (decay - 1.0) / g + 1.0 };
            next = (next + (first * (t.alpha * taylor))?)?;
            if let Some(second) = second {
                // As in diffusers: the sign of the last term differs between the two forms.
                let half = if stochastic { -0.5 } else { 0.5 };
                let cubic = t.alpha * (half - (decay - 1.0 + g) / (g * g));
                next = (next + (second * cubic)?)?;
            }
        }
        if stochastic {
            let spread = t.sigma * (1.0 - (-2.0 * h).exp()).sqrt();
            next = (next + (noise.draw()? * spread)?)?;
        }
        self.start = Some(start);
        Ok(Stepped { sample: next, denoised })
    }
}
