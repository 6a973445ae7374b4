//! diffusers' `DEISMultistepScheduler` (`scheduling_deis_multistep.py`): DEIS in log rho (Zhang and Chen 2022, "Fast
//! Sampling of Diffusion Models with Exponential Integrator", section 3.3), of order 1 to 3.

use candle_core::Tensor;

use super::multistep::{Estimates, LevelTables, Rules};
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// With fewer steps than this, the last steps have a lower order.
const FEW_STEPS: usize = 15;

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Deis {
    tables: LevelTables,
    order: usize,
    /// The last steps have a lower order.
    lower_order_final: bool,
    /// Estimates of the noise.
    estimates: Estimates,
}

impl Deis {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        // diffusers reads the names of the other solvers as the default.
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        s.only("algorithm_type", &names(&["deis", "dpmsolver", "dpmsolver++"]))?;
        s.only("solver_type", &names(&["logrho", "midpoint", "heun", "bh1", "bh2"]))?;
        let order = s.or("solver_order", 2)?;
        if !(1..=3).contains(&order) {
            return Err(s.unsupported("solver_order", order));
        }
        let tables = LevelTables::new(s, steps, Rules::Deis)?;
        let lower_order_final = s.or("lower_order_final", true)? && tables.timesteps.len() < FEW_STEPS;
        Ok(Self { tables, order, lower_order_final, estimates: Estimates::default() })
    }

    fn order_at(&self, step: usize) -> usize {
        let left = self.tables.timesteps.len() - step;
        let most = if self.lower_order_final { left } else { self.order };
        self.order.min(most).min(self.estimates.len())
    }
}

/// The coefficient of each estimate of the noise, newest first, for a step from level `rhos[0]` to `to`: the integral
/// of the polynomial in ln(rho) that is 1 at the estimate's level and 0 at the others.
fn coefficients(rhos: &[f64], to: f64) -> Vec<f64> {
    let from = rhos[0].ln();
    // Relative to the first level, so that little is lost when the integrals are subtracted.
    let logs: Vec<f64> = rhos.iter().map(|rho| rho.ln() - from).collect();
    let end = to.ln() - from;
    // The integrals of 1, ln(rho) and ln(rho)^2 over rho, divided by the first level.
    let growth = end.exp();
    let moments = [end.exp_m1(), growth * (end - 1.0) + 1.0, growth * (end * end - 2.0 * end + 2.0) - 2.0];
    let polynomial = |at: usize| {
        let others: Vec<f64> =
            (0..logs.len()).filter(|other| *other != at).map(|other| logs[other]).collect();
        let (sum, scale) = match others[..] {
            [] => (moments[0], 1.0),
            [a] => (moments[1] - a * moments[0], logs[at] - a),
            [a, b, ..] => {
                let sum = moments[2] - (a + b) * moments[1] + a * b * moments[0];
                (sum, (logs[at] - a) * (logs[at] - b))
            }
        };
        rhos[0] * sum / scale
    };
    (0..logs.len()).map(polynomial).collect()
}

impl Sampler for Deis {
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

    fn state(&self) -> SamplerState {
        self.estimates.state()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.estimates = Estimates::restore(&mut state, taken, self.order)?;
        all_taken(&state)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        self.tables.add_noise(step, latents, noise)
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let denoised = self.tables.denoise(step, prediction, sample)?;
        let (s, t) = (self.tables.level(step), self.tables.level(step + 1));
        let noise = ((sample - (&denoised * s.alpha)?)? / s.sigma)?;
        self.estimates.push(noise, self.order);
        let order = self.order_at(step);
        let rhos: Vec<f64> = (0..order).map(|back| self.tables.sigmas[step - back]).collect();
        let mut next = (sample * (t.alpha / s.alpha))?;
        for (estimate, coefficient) in
            self.estimates.iter().zip(coefficients(&rhos, self.tables.sigmas[step + 1]))
        {
            next = (next + (estimate * (t.alpha * coefficient))?)?;
        }
        Ok(Stepped { sample: next, denoised })
    }
}
