//! The share of a fleet that a tenant gets while others wait too.

use serde::{Deserialize, Serialize};

use crate::request::ImageSpec;

/// What a step of one picture of [`PIXELS`] costs a tenant of weight 1, in microseconds of its virtual time.
const STEP: f64 = 10_000.0;
/// 1024x1024.
const PIXELS: f64 = 1_048_576.0;
/// The bounds of [`Weight::charge`]: one job moves its tenant, and none moves it further than a day.
const CHARGES: (f64, f64) = (1.0, 86_400e6);

/// A tenant's weight: one of weight 2 gets twice the share of one of weight 1. 0.001 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Weight(f64);

/// A number that is not a weight.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a weight should be a number from 0.001 to 1000, and it is {0}")]
pub struct NotAWeight(f64);

impl Weight {
    /// The weight of all tenants without one of their own.
    pub const ONE: Self = Self(1.0);

    /// Whether it is the usual weight.
    pub fn is_one(&self) -> bool {
        *self == Self::ONE
    }

    /// What a job costs its tenant: the time, in microseconds, by which the start of the tenant's next job is later in
    /// the tenant's virtual time. In proportion to the steps, the pictures and the pixels, and to 1 / weight.
    pub fn charge(self, spec: &ImageSpec) -> u64 {
        let pixels = f64::from(spec.width()) * f64::from(spec.height()) / PIXELS;
        let work = f64::from(spec.steps_to_take()) * f64::from(spec.num_images()) * pixels;
        (STEP * work / self.0).round().clamp(CHARGES.0, CHARGES.1) as u64
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<f64> for Weight {
    type Error = NotAWeight;

    fn try_from(number: f64) -> Result<Self, NotAWeight> {
        if (0.001..=1_000.0).contains(&number) { Ok(Self(number)) } else { Err(NotAWeight(number)) }
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_positive_number_in_its_bounds() {
        for wrong in [0.0, -1.0, 1e-4, 1001.0, f64::NAN, f64::INFINITY] {
            assert!(Weight::try_from(wrong).is_err(), "{wrong}");
        }
        for right in [0.001, 1.0, 2.5, 1_000.0] {
            assert_eq!(f64::from(Weight::try_from(right).unwrap()), right);
        }
        assert!(serde_json::from_str::<Weight>("0").is_err());
        assert_eq!(serde_json::from_str::<Weight>("2").unwrap(), Weight::try_from(2.0).unwrap());
    }
}
