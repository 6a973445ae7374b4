//! Which form of an operation is used, decided from what the comparisons found. Pure.

use std::time::Duration;

use super::row::{Finding, Row};
use crate::sdxl::ops::Op;

/// The device's own form is used unless it takes more than this many times as long as the portable one. Smaller
/// differences are noise, and the own form needs less memory.
const SLOWER: f64 = 1.1;

/// What follows for one operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<'a> {
    /// The device's own form is right and not slower.
    Own,
    /// It is right, and slower than the portable form over all shapes of the model's dtype.
    Slower {
        /// Its time.
        own: Duration,
        /// That of the portable form.
        portable: Duration,
    },
    /// It is wrong at a shape; the worst one.
    Wrong(&'a Row),
    /// It could be compared at no shape; the first one.
    Unknown(&'a Row),
}

impl<'a> Verdict<'a> {
    /// What the rows of an operation say about it; `None` if there are none.
    pub fn of(op: Op, rows: &'a [Row]) -> Option<Self> {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.op == op).collect();
        let first = *rows.first()?;
        // The error in tolerances; a form that failed, or that gave NaN or infinity, is the worst.
        let excess = |row: &Row| row.error().map_or(f64::INFINITY, |error| error / row.tolerance);
        let wrong = rows.iter().copied().filter(|row| row.is_wrong());
        if let Some(worst) = wrong.max_by(|a, b| excess(a).total_cmp(&excess(b))) {
            return Some(Self::Wrong(worst));
        }
        let (mut own, mut portable) = (Duration::ZERO, Duration::ZERO);
        let mut is_compared = false;
        for row in &rows {
            if let Finding::Compared { own: of_own, portable: of_portable, .. } = row.finding {
                is_compared = true;
                // Where the portable form cannot run there is no choice. The model's dtype, which is the first, decides: in
                // f32 candle's convolution multiplies in TF32, faster and less exact than ours, and there the shapes of the
                // VAE outweigh all of the UNet's.
                if let Some(of_portable) = of_portable
                    && row.dtype == first.dtype
                {
                    own += of_own;
                    portable += of_portable;
                }
            }
        }
        Some(match is_compared {
            false => Self::Unknown(first),
            true if own > portable.mul_f64(SLOWER) => Self::Slower { own, portable },
            true => Self::Own,
        })
    }

    /// Whether the device's own form is used.
    pub fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn row(op: Op, finding: Finding) -> Row {
        Row { op, shape: "2x3".to_owned(), dtype: DType::F16, tolerance: 0.01, finding }
    }

    fn compared(error: f64, own: u64, portable: u64) -> Row {
        let [own, portable] = [own, portable].map(Duration::from_micros);
        row(Op::Geglu, Finding::Compared { error, own, portable: Some(portable) })
    }

    fn of(rows: &[Row]) -> Verdict<'_> {
        Verdict::of(Op::Geglu, rows).unwrap()
    }

    #[test]
    fn a_form_that_is_right_and_not_slower_is_used() {
        assert_eq!(of(&[compared(0.01, 100, 100), compared(0.0, 20, 300)]), Verdict::Own);
        // Slower at one shape only, or by no more than noise.
        assert_eq!(of(&[compared(0.0, 200, 100), compared(0.0, 10, 200)]), Verdict::Own);
        assert_eq!(of(&[compared(0.0, 109, 100)]), Verdict::Own);
    }

    #[test]
    fn a_form_that_is_wrong_at_one_shape_is_not_used_and_the_worst_shape_is_named() {
        let [slightly, badly] = [compared(0.011, 1, 100), compared(0.5, 1, 100)];
        let rows = [compared(0.0, 1, 100), slightly, badly.clone(), compared(0.0, 1, 100)];
        assert_eq!(of(&rows), Verdict::Wrong(&badly));
        // Not even if it is fast, and so that the speed is not asked for.
        assert!(!of(&[compared(0.011, 1, 100)]).is_own());
    }

    #[test]
    fn what_is_not_a_number_or_failed_is_wrong_and_the_worst() {
        for bad in [f64::NAN, f64::INFINITY] {
            let rows = [compared(0.5, 1, 100), compared(bad, 1, 100)];
            assert!(matches!(of(&rows), Verdict::Wrong(row) if row.error().is_none()));
        }
        let failed = row(Op::Geglu, Finding::Failed { message: "no such kernel".to_owned() });
        let rows = [compared(0.0, 1, 100), failed.clone()];
        assert_eq!(of(&rows), Verdict::Wrong(&failed));
    }

    #[test]
    fn a_right_form_that_is_slower_is_not_used() {
        let rows = [compared(0.0, 100, 100), compared(0.0, 200, 100)];
        let [own, portable] = [300, 200].map(Duration::from_micros);
        assert_eq!(of(&rows), Verdict::Slower { own, portable });
    }

    #[test]
    fn the_speed_in_the_dtype_of_the_model_decides() {
        let in_f32 = |row: Row| Row { dtype: DType::F32, ..row };
        assert_eq!(of(&[compared(0.0, 10, 20), in_f32(compared(0.0, 900, 200))]), Verdict::Own);
        let [own, portable] = [20, 10].map(Duration::from_micros);
        let rows = [compared(0.0, 20, 10), in_f32(compared(0.0, 200, 900))];
        assert_eq!(of(&rows), Verdict::Slower { own, portable });
        // A wrong form is wrong in any dtype.
        assert!(!of(&[compared(0.0, 10, 20), in_f32(compared(0.5, 1, 200))]).is_own());
    }

    #[test]
    fn what_cannot_be_compared_is_not_used_unless_another_shape_was() {
        let skipped = row(Op::Geglu, Finding::Skipped { message: "no memory".to_owned() });
        let alone = [skipped.clone()];
        assert_eq!(of(&alone), Verdict::Unknown(&skipped));
        assert_eq!(of(&[skipped, compared(0.0, 1, 100)]), Verdict::Own);
        // Right, and nothing else runs.
        let own = Duration::from_micros(9);
        assert_eq!(
            of(&[row(Op::Geglu, Finding::Compared { error: 0.0, own, portable: None })]),
            Verdict::Own
        );
    }

    #[test]
    fn each_operation_has_its_own_rows() {
        let rows = [row(Op::Pixels, Finding::Failed { message: "x".to_owned() }), compared(0.0, 1, 2)];
        assert!(of(&rows).is_own());
        assert_eq!(Verdict::of(Op::Finite, &rows), None);
    }
}
