//! Normally distributed numbers of our generators.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::error::MeasureError;
use crate::config::TorchGenerator;
use crate::noise::{Generator, GeneratorKind};

/// What to draw.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// Which of torch's generators: `cuda` (Philox) or `cpu` (MT19937).
    #[arg(long, value_enum)]
    generator: TorchGenerator,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Numbers of each draw. Give it again for a further draw.
    #[arg(long = "count", value_name = "N", required = true)]
    counts: Vec<usize>,
    /// The file for the numbers of all draws: float32, the lowest byte first.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl DrawArgs {
    pub(super) fn draw(&self) -> Result<Value, MeasureError> {
        let mut generator = Generator::new(GeneratorKind::from(self.generator), self.seed);
        let numbers = self.counts.iter().flat_map(|count| generator.normal(*count));
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        std::fs::write(&self.out, &bytes)
            .map_err(|error| MeasureError::Failed(format!("cannot write {}: {error}", self.out.display())))?;
        Ok(json!({ "numbers": bytes.len() / 4 }))
    }
}
