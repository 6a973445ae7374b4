//! diffusers' `UniPCMultistepScheduler` (`scheduling_unipc_multistep.py`): UniPC (Zhao et al. 2023) with a prediction
//! of the picture, a multistep predictor, and a corrector from the second step on.

use candle_core::Tensor;

use super::multistep::{Estimates, LevelTables, NoiseLevel, Rules};
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// Prefix of the name of the latents before the newest step, in [`Sampler::state`]. The order of that step follows.
const LAST: &str = "last.";

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct UniPc {
    tables: LevelTables,
    order: usize,
    /// B(h) = h instead of exp(h) - 1.
    bh1: bool,
    lower_order_final: bool,
    disable_corrector: Vec<usize>,
    estimates: Estimates,
    /// The latents before the newest step, and the order of that step.
    last: Option<(Tensor, usize)>,
}

/// The coefficients of an update from level s to t with earlier levels (equation 9 and appendix of the paper).
struct Update {
    /// exp(-h) - 1.
    phi: f64,
    /// B(h).
    b_h: f64,
    /// (lambda_i - lambda_s) / h for each earlier level, then 1.
    ratios: Vec<f64>,
    /// Right-hand side of the order conditions.
    conditions: Vec<f64>,
}

impl UniPc {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("predict_x0", &[true.into()])?;
        s.only("solver_p", &[])?;
        s.only("shift_terminal", &[])?;
        let bh1 = match s.or("solver_type", String::from("bh2"))?.as_str() {
            "bh1" => true,
            // diffusers reads the names of DPM-Solver's types as the default.
            "bh2" | "midpoint" | "heun" | "logrho" => false,
            other => return Err(s.unsupported("solver_type", format!("{other:?}"))),
        };
        let order = s.or("solver_order", 2)?;
        if order == 0 {
            return Err(s.unsupported("solver_order", order));
        }
        let tables = LevelTables::new(s, steps, Rules::UniPc)?;
        let lower_order_final = s.or("lower_order_final", true)?;
        // The last level's lambda is infinite then, and only order 1 has a limit: diffusers gives NaN.
        if !lower_order_final && order > 1 && steps > 1 && tables.sigmas.last() == Some(&0.0) {
            return Err(s.wrong(
                "lower_order_final",
                "is false, which UniPC can use only with \"final_sigmas_type\": \"sigma_min\"",
            ));
        }
        Ok(Self {
            tables,
            order,
            bh1,
            lower_order_final,
            disable_corrector: s.or("disable_corrector", Vec::new())?,
            estimates: Estimates::default(),
            last: None,
        })
    }

    /// The coefficients; `earlier` are the levels before s.
    fn update(&self, s: NoiseLevel, t: NoiseLevel, earlier: &[NoiseLevel]) -> Update {
        let h = t.lambda - s.lambda;
        let phi = (-h).exp_m1();
        let b_h = if self.bh1 { -h } else { phi };
        let mut ratios: Vec<f64> = earlier.iter().map(|e| (e.lambda - s.lambda) / h).collect();
        ratios.push(1.0);
        let mut phi_k = phi / -h - 1.0;
        let mut factorial = 1.0;
        let conditions = (1..=ratios.len())
            .map(|k| {
                let condition = phi_k * factorial / b_h;
                factorial *= (k + 1) as f64;
                phi_k = phi_k / -h - 1.0 / factorial;
                condition
            })
            .collect();
        Update { phi, b_h, ratios, conditions }
    }

    /// The differences between earlier estimates and the newest, each divided by its ratio.
    fn differences(&self, update: &Update) -> candle_core::Result<Vec<Tensor>> {
        let newest = &self.estimates[0];
        let pairs = update.ratios.iter().zip(self.estimates.iter().skip(1));
        pairs.take(update.ratios.len() - 1).map(|(r, m)| (m - newest)? / *r).collect()
    }

    /// Moves `x` from level s to t with the newest estimate, and adds `terms` times B(h).
    fn advance(
        &self,
        update: &Update,
        (s, t): (NoiseLevel, NoiseLevel),
        x: &Tensor,
        terms: Vec<(f64, Tensor)>,
    ) -> candle_core::Result<Tensor> {
        let mut next = ((x * (t.sigma / s.sigma))? - (&self.estimates[0] * (t.alpha * update.phi))?)?;
        for (weight, difference) in terms {
            next = (next - (difference * (t.alpha * update.b_h * weight))?)?;
        }
        Ok(next)
    }

    fn levels_before(&self, index: usize, count: usize) -> Vec<NoiseLevel> {
        (1..=count).map(|k| self.tables.level(index - k)).collect()
    }

    /// UniC: corrects the latents of this step with the new estimate.
    fn correct(&self, step: usize, denoised: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Some((before, order)) = &self.last else { return Ok(None) };
        if self.disable_corrector.contains(&(step - 1)) {
            return Ok(None);
        }
        let (s, t) = (self.tables.level(step - 1), self.tables.level(step));
        let update = self.update(s, t, &self.levels_before(step - 1, order - 1));
        let rho = if *order == 1 { vec![0.5] } else { solve(&update.ratios, &update.conditions) };
        let mut terms: Vec<_> = rho.iter().copied().zip(self.differences(&update)?).collect();
        terms.push((rho[rho.len() - 1], (denoised - &self.estimates[0])?));
        self.advance(&update, (s, t), before, terms).map(Some)
    }

    /// UniP: predicts the latents of the next step.
    fn predict(&self, step: usize, sample: &Tensor, order: usize) -> candle_core::Result<Tensor> {
        let (s, t) = (self.tables.level(step), self.tables.level(step + 1));
        let update = self.update(s, t, &self.levels_before(step, order - 1));
        let rho = match order {
            1 => Vec::new(),
            2 => vec![0.5],
            _ => solve(&update.ratios[..order - 1], &update.conditions[..order - 1]),
        };
        let terms = rho.into_iter().zip(self.differences(&update)?).collect();
        self.advance(&update, (s, t), sample, terms)
    }
}

/// Solves the Vandermonde system sum_j ratio_j^i x_j = condition_i by elimination with pivoting.
fn solve(ratios: &[f64], conditions: &[f64]) -> Vec<f64> {
    let n = ratios.len();
    let mut rows: Vec<Vec<f64>> =
        (0..n).map(|i| ratios.iter().map(|r| r.powi(i as i32)).chain([conditions[i]]).collect()).collect();
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()));
        rows.swap(column, pivot.unwrap_or(column));
        let top = rows[column].clone();
        for (i, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            debug_assert_ne!(i, column);
            let factor = row[column] / top[column];
            row.iter_mut().zip(&top).for_each(|(value, top)| *value -= factor * top);
        }
    }
    rows.iter().enumerate().map(|(i, row)| row[n] / row[i]).collect()
}

impl Sampler for UniPc {
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
        let mut state = self.estimates.state();
        if let Some((latents, order)) = &self.last {
            // The name carries the order.
            state.insert(format!("{LAST}{order}"), latents.clone());
        }
        state
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.estimates = Estimates::restore(&mut state, taken, self.order)?;
        // The order of a step is at most the number of estimates.
        self.last = (1..=self.order.min(taken))
            .find_map(|order| state.remove(&format!("{LAST}{order}")).map(|latents| (latents, order)));
        if self.last.is_some() != (taken > 0) {
            return Err(format!("it has the wrong number of tensors after {taken} steps"));
        }
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
        let sample = self.correct(step, &denoised)?.unwrap_or_else(|| sample.clone());
        self.estimates.push(denoised.clone(), self.order);
        let left = self.tables.timesteps.len() - step;
        let most = if self.lower_order_final { self.order.min(left) } else { self.order };
        let order = most.min(self.estimates.len());
        let next = self.predict(step, &sample, order)?;
        self.last = Some((sample, order));
        Ok(Stepped { sample: next, denoised })
    }
}
