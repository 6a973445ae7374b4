//! The quantiles of the beta distribution with both parameters 0.6, for beta sigmas (Lee et al. 2024, "Beta Sampling is
//! All You Need").

/// Both parameters of the distribution.
const SHAPE: f64 = 0.6;
/// The beta function of both parameters.
const NORM: f64 = 2.415_344_208_002_472_3;
/// Halvings of the search: the quantile is then exact to the last bit.
const HALVINGS: usize = 80;

/// The number below which a share `p` of the distribution lies.
pub(super) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        // The distribution is symmetrical, and the series below is for its lower half.
        return 1.0 - quantile(1.0 - p);
    }
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if share_below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The share of the distribution below `x`, from 0 to 0.5: the power series of the incomplete beta function.
fn share_below(x: f64) -> f64 {
    let (mut sum, mut coefficient) = (0.0, 1.0);
    for n in 0..60 {
        let n = f64::from(n);
        sum += coefficient / (SHAPE + n);
        coefficient *= x * (n + 1.0 - SHAPE) / (n + 1.0);
    }
    x.powf(SHAPE) * sum / NORM
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.beta.ppf(p, 0.6, 0.6)`.
    #[test]
    fn the_quantiles_are_those_of_scipy() {
        let known = [
            (0.0, 0.0),
            (0.1, 0.039_584_405_588_780_81),
            (0.3, 0.234_017_003_875_235_72),
            (0.5, 0.5),
            (0.9, 0.960_415_594_411_219_2),
            (1.0, 1.0),
        ];
        for (p, expected) in known {
            assert!((quantile(p) - expected).abs() < 1e-14, "{p}: {}", quantile(p));
        }
    }
}
