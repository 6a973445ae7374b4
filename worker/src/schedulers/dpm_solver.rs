//! diffusers' `DPMSolverMultistepScheduler` (`scheduling_dpmsolver_multistep.py`): DPM-Solver++ of order 1 to 3 (Lu et
//! al. 2022, "DPM-Solver++", algorithm 2) and its stochastic form.

use candle_core::Tensor;

use super::multistep::{Estimates, LevelTables};
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// With fewer steps than this, the last steps have a lower order.
const FEW_STEPS: usize = 15;

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct DpmSolver {
    tables: LevelTables,
    order: usize,
    stochastic: bool,
    /// Uses the Taylor term of Heun's rule instead of the midpoint rule.
    heun: bool,
    lower_order_final: bool,
    /// The last step has order 1.
    first_order_end: bool,
    estimates: Estimates,
}

impl DpmSolver {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("lambda_min_clipped", &["-Infinity".into()])?;
        s.only("variance_type", &[])?;
        let stochastic = match s.or("algorithm_type", String::from("dpmsolver++"))?.as_str() {
            "dpmsolver++" => false,
            "sde-dpmsolver++" => true,
            other => return Err(s.unsupported("algorithm_type", format!("{other:?}"))),
        };
        let heun = match s.or("solver_type", String::from("midpoint"))?.as_str() {
            // diffusers reads the names of UniPC's types as the default.
            "midpoint" | "logrho" | "bh1" | "bh2" => false,
            "heun" => true,
            other => return Err(s.unsupported("solver_type", format!("{other:?}"))),
        };
        let order = s.or("solver_order", 2)?;
        if !(1..=3).contains(&order) {
            return Err(s.unsupported("solver_order", order));
        }
        let tables = LevelTables::new(s, steps, false)?;
        let lower_order_final: bool = s.or("lower_order_final", true)?;
        let few = lower_order_final && tables.timesteps.len() < FEW_STEPS;
        // If the last level has no noise, its lambda is infinite, and only order 1 has a limit.
        let no_noise = tables.sigmas.last() == Some(&0.0);
        let first_order_end = s.or("euler_at_final", false)? || few || no_noise;
        Ok(Self {
            tables,
            order,
            stochastic,
            heun,
            lower_order_final: few,
            first_order_end,
            estimates: Estimates::default(),
        })
    }

    fn order_at(&self, step: usize) -> usize {
        let left = self.tables.timesteps.len() - step;
        let most = match left {
            1 if self.first_order_end => 1,
            2 if self.lower_order_final => 2,
            _ => 3,
        };
        self.order.min(most).min(self.estimates.len())
    }
}

impl Sampler for DpmSolver {
    fn timesteps(&self) -> &[f64] {
        &self.tables.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.tables.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn input_scale(&self, _: usize) -> f64 {
        1.0
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        let level = self.tables.level(step);
        (latents * level.alpha)? + (noise * level.sigma)?
    }

    fn state(&self) -> SamplerState {
        self.estimates.state()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.estimates = Estimates::restore(&mut state, taken, self.order)?;
        all_taken(&state)
    }

    /// Symbols as in the paper: s is the current level, t the next, h = lambda_t - lambda_s, D0 the newest estimate, D1
    /// and D2 its finite differences.
    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let denoised = self.tables.denoise(step, prediction, sample)?;
        self.estimates.push(denoised.clone(), self.order);
        let order = self.order_at(step);

        let (s, t) = (self.tables.level(step), self.tables.level(step + 1));
        let h = t.lambda - s.lambda;
        // The stochastic form integrates over 2 h.
        let g = if self.stochastic { 2.0 * h } else { h };
        let decay = (-g).exp();
        let scale = t.sigma / s.sigma * if self.stochastic { (-h).exp() } else { 1.0 };
        let d0 = &self.estimates[0];
        let mut next = ((sample * scale)? + (d0 * (t.alpha * (1.0 - decay)))?)?;
        if order >= 2 {
            let h0 = s.lambda - self.tables.level(step - 1).lambda;
            let r0 = h0 / h;
            let first = ((d0 - &self.estimates[1])? / r0)?;
            let taylor = t.alpha * ((decay - 1.0) / g + 1.0);
            if order == 2 {
                let weight = if self.heun { taylor } else { 0.5 * t.alpha * (1.0 - decay) };
                next = (next + (first * weight)?)?;
            } else {
                let h1 = self.tables.level(step - 1).lambda - self.tables.level(step - 2).lambda;
                let r1 = h1 / h;
                let second = ((&self.estimates[1] - &self.estimates[2])? / r1)?;
                let change = (&first - second)?;
                let d1 = (&first + (&change * (r0 / (r0 + r1)))?)?;
                let d2 = (change / (r0 + r1))?;
                // As in diffusers: the sign of the last term differs between the two forms.
                let half = if self.stochastic { -0.5 } else { 0.5 };
                let cubic = t.alpha * (half - (decay - 1.0 + g) / (g * g));
                next = ((next + (d1 * taylor)?)? + (d2 * cubic)?)?;
            }
        }
        if self.stochastic {
            let spread = t.sigma * (1.0 - (-2.0 * h).exp()).sqrt();
            next = (next + (noise.draw()? * spread)?)?;
        }
        Ok(Stepped { sample: next, denoised })
    }
}
