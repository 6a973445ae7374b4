//! diffusers' `DPMSolverMultistepScheduler` (`scheduling_dpmsolver_multistep.py`): DPM-Solver++ of order 1 to 3 (Lu et
//! al. 2022, "DPM-Solver++", algorithm 2) and its stochastic form; and `EDMDPMSolverMultistepScheduler`
//! (`scheduling_edm_dpmsolver_multistep.py`), the same with the latents of EDM.

use candle_core::Tensor;

use super::multistep::{Estimates, LevelTables, Rules};
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// With fewer steps than this, the last steps have a lower order.
const FEW_STEPS: usize = 15;

/// The form of DPM-Solver++ that the configuration names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// 1 to 3.
    pub(super) order: usize,
    /// Draws noise in every step.
    pub(super) stochastic: bool,
    /// Uses the Taylor term of Heun's rule instead of the midpoint rule.
    pub(super) heun: bool,
}

impl Choice {
    pub(super) fn read(s: &Settings) -> Result<Self, LoadError> {
        s.only("lambda_min_clipped", &["-Infinity".into()])?;
        // DDPM's fixed variances have no effect here.
        s.only("variance_type", &["fixed_small", "fixed_small_log", "fixed_large"].map(Into::into))?;
        let stochastic = match s.or("algorithm_type", String::from("dpmsolver++"))?.as_str() {
            // diffusers reads DEIS' name as the default.
            "dpmsolver++" | "deis" => false,
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
        Ok(Self { order, stochastic, heun })
    }
}

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
        Self::with_tables(s, LevelTables::new(s, steps, Rules::DpmSolver)?)
    }

    /// With the latents of EDM.
    pub(super) fn edm(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let solver = Self::with_tables(s, LevelTables::edm(s, steps)?)?;
        if solver.stochastic && solver.order == 3 {
            return Err(
                s.wrong("solver_order", "is 3, which \"algorithm_type\": \"sde-dpmsolver++\" excludes")
            );
        }
        Ok(solver)
    }

    fn with_tables(s: &Settings, tables: LevelTables) -> Result<Self, LoadError> {
        let Choice { order, stochastic, heun } = Choice::read(s)?;
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
        self.tables.init_noise_sigma()
    }

    fn input_scale(&self, step: usize) -> f64 {
        self.tables.input_scale(step)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        self.tables.add_noise(step, latents, noise)
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
