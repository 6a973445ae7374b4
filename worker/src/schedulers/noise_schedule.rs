//! The noise schedule of the training (Ho et al. 2020).

use crate::sdxl::{LoadError, Settings};

/// The last value of alphas_cumprod with zero terminal SNR, for samplers that divide by it. It is the smallest f16, so
/// that the first sigma is 4096 and not infinity.
pub(super) const ZERO_SNR_FLOOR: f32 = 5.960_464_5e-8;

/// The most training timesteps: each job builds a table of them.
const MAX_TIMESTEPS: usize = 100_000;

/// The noise schedule in f32, as in torch: in f64 the last sigmas differ in the sixth digit, which changes every
/// picture. Only the running product is f64, as in torch's `cumprod` on a CPU.
#[derive(Debug, Clone)]
pub(super) struct NoiseSchedule {
    /// The product of 1 - beta up to each timestep: the share of the picture in the variance.
    pub(super) alphas_cumprod: Vec<f32>,
}

/// The defaults of one class for the keys of the betas.
#[derive(Debug, Clone, Copy)]
pub(super) struct BetaDefaults {
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: &'static str,
}

impl BetaDefaults {
    /// The defaults of most classes.
    pub(super) const LINEAR: Self = Self { beta_start: 0.0001, beta_end: 0.02, beta_schedule: "linear" };
}

impl NoiseSchedule {
    /// Reads the betas or computes them. With `rescale_betas_zero_snr`, `floor` replaces the last value of
    /// alphas_cumprod.
    pub(super) fn read(s: &Settings, defaults: BetaDefaults, floor: Option<f32>) -> Result<Self, LoadError> {
        let n = s.size("num_train_timesteps", 1000, MAX_TIMESTEPS)?;
        let start: f64 = s.or("beta_start", defaults.beta_start)?;
        let end: f64 = s.or("beta_end", defaults.beta_end)?;
        let kind: String = s.or("beta_schedule", defaults.beta_schedule.into())?;
        let mut betas: Vec<f32> = match (s.get::<Vec<f32>>("trained_betas")?, kind.as_str()) {
            (Some(betas), _) if betas.len() == n => betas,
            (Some(_), _) => {
                return Err(s.wrong("trained_betas", "differs in length from num_train_timesteps"));
            }
            (None, "linear") => linspace(start as f32, end as f32, n),
            (None, "scaled_linear") => {
                linspace(start.sqrt() as f32, end.sqrt() as f32, n).iter().map(|b| b * b).collect()
            }
            (None, "squaredcos_cap_v2") => squared_cosine(n),
            (None, other) => return Err(s.unsupported("beta_schedule", format!("{other:?}"))),
        };
        if n < 2 || betas.iter().any(|b| !(0.0..1.0).contains(b)) {
            return Err(s.wrong("beta_end", "does not give betas between 0 and 1"));
        }
        let rescaled = s.or("rescale_betas_zero_snr", false)?;
        if rescaled {
            rescale_zero_terminal_snr(&mut betas);
        }
        let mut alphas_cumprod = cumulative_product(betas.iter().map(|b| 1.0 - b));
        if let (true, Some(floor), Some(last)) = (rescaled, floor, alphas_cumprod.last_mut()) {
            *last = floor;
        }
        Ok(Self { alphas_cumprod })
    }

    /// The noise level sigma of each timestep: sqrt((1 - a) / a).
    pub(super) fn sigmas(&self) -> Vec<f32> {
        self.alphas_cumprod.iter().map(|a| ((1.0 - a) / a).sqrt()).collect()
    }
}

/// `torch.linspace` in f32, which computes from both ends to the middle.
pub(super) fn linspace(start: f32, end: f32, n: usize) -> Vec<f32> {
    let step = (end - start) / (n.max(2) - 1) as f32;
    (0..n)
        .map(|i| if i < n / 2 { start + step * i as f32 } else { end - step * (n - 1 - i) as f32 })
        .collect()
}

fn cumulative_product(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    factors
        .scan(1f64, |product, factor| {
            *product *= f64::from(factor);
            Some(*product as f32)
        })
        .collect()
}

/// Betas of Nichol and Dhariwal 2021, equation 17, each at most 0.999.
fn squared_cosine(n: usize) -> Vec<f32> {
    let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    (0..n)
        .map(|i| (1.0 - bar((i + 1) as f64 / n as f64) / bar(i as f64 / n as f64)).min(0.999) as f32)
        .collect()
}

/// Shifts and scales sqrt(alphas_cumprod) so that the last value is 0 and the first is unchanged (Lin et al. 2023,
/// "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1).
fn rescale_zero_terminal_snr(betas: &mut [f32]) {
    let mut roots: Vec<f32> =
        cumulative_product(betas.iter().map(|b| 1.0 - b)).into_iter().map(f32::sqrt).collect();
    let (Some(first), Some(last)) = (roots.first().copied(), roots.last().copied()) else { return };
    roots.iter_mut().for_each(|r| *r = (*r - last) * (first / (first - last)));
    let bars: Vec<f32> = roots.iter().map(|r| r * r).collect();
    for i in 0..betas.len() {
        let alpha = if i == 0 { bars[0] } else { bars[i] / bars[i - 1] };
        betas[i] = 1.0 - alpha;
    }
}
