//! The table of all comparisons, and what follows from it.

use candle_core::Device;

use super::case::Case;
use super::examine::examine;
use super::numbers::Numbers;
use super::row::{Finding, Row};
use super::verdict::Verdict;
use crate::pipeline::PipelineError;
use crate::sdxl::ops::Op;

/// What was found, in the order of the cases.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Row>,
    /// Whether the forms can be switched: those of a CPU cannot.
    has_switches: bool,
}

impl Table {
    /// Runs all cases on a device, with random numbers from this seed.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn of(cases: &[Case], device: &Device, seed: u64) -> Result<Self, PipelineError> {
        tracing::debug!("comparing operations on random numbers with seed {seed}");
        let mut numbers = Numbers::new(seed, device)?;
        let mut rows = Vec::with_capacity(cases.len());
        for case in cases {
            let row = examine(case, &mut numbers, device)?;
            tracing::debug!("{} at {}: {:?}", row.op.name(), row.place(), row.finding);
            rows.push(row);
        }
        Ok(Self { rows, has_switches: device.is_cuda() })
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What follows for an operation; `None` if it was not compared.
    pub fn verdict(&self, op: Op) -> Option<Verdict<'_>> {
        Verdict::of(op, &self.rows)
    }

    /// Whether the device uses its own form of an operation, by this table.
    pub fn is_own_used(&self, op: Op) -> bool {
        !self.has_switches || self.verdict(op).is_none_or(|verdict| verdict.is_own())
    }

    /// The operations whose own form is wrong.
    pub fn wrong(&self) -> Vec<Op> {
        let is_wrong = |op: &Op| matches!(self.verdict(*op), Some(Verdict::Wrong(_)));
        Op::ALL.into_iter().filter(is_wrong).collect()
    }

    /// Switches off, for this process, each operation's own form that is wrong, slower or unknown, and logs it. An
    /// operation without a row stays as it is.
    pub fn apply(&self) {
        for op in Op::ALL {
            let Some(verdict) = self.verdict(op) else { continue };
            op.use_own(verdict.is_own());
            let name = op.name();
            match verdict {
                Verdict::Own => {}
                Verdict::Slower { own, portable } => tracing::info!(
                    "{name}: the GPU's own form takes {own:.1?} at SDXL's shapes and the portable one {portable:.1?}, \
                     so the portable one is used"
                ),
                Verdict::Wrong(row) => {
                    let (place, what) = (row.place(), what_is_wrong(row));
                    tracing::warn!(
                        "{name} is switched off: at {place}, the GPU's own form {what}; the portable form is used, \
                         which is slower"
                    );
                }
                Verdict::Unknown(row) => {
                    let (place, why) = (row.place(), reason(row));
                    tracing::warn!(
                        "{name} is switched off: the GPU's own form could not be compared with the portable form, at \
                         {place} because of: {why}; the portable form is used, which is slower"
                    );
                }
            }
        }
    }
}

fn what_is_wrong(row: &Row) -> String {
    let tolerance = row.tolerance;
    match &row.finding {
        Finding::Compared { error, .. } if error.is_finite() => {
            format!("differs from the portable one by {error:.1e}, and may by {tolerance:.1e}")
        }
        Finding::Compared { .. } => "gives another answer, or numbers that are not finite".to_owned(),
        Finding::Failed { message } | Finding::Skipped { message } => format!("fails: {message}"),
    }
}

fn reason(row: &Row) -> &str {
    match &row.finding {
        Finding::Failed { message } | Finding::Skipped { message } => message,
        Finding::Compared { .. } => "no figures",
    }
}
