//! The device to measure.

use candle_core::Device;
use clap::Args;

use super::error::MeasureError;
use crate::pipeline::parse_device;
use crate::sdxl::ops::Op;

/// The device to measure.
#[derive(Debug, Args)]
pub struct DeviceArg {
    /// What to measure: `auto`, `cpu`, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Operations for which a GPU runs the portable form, by their names in `glimpse doctor`, with commas between. A
    /// worker finds out by itself which ones these are.
    #[arg(long, env = "GLIMPSE_PORTABLE_OPS", value_name = "OPS", value_delimiter = ',', value_parser = op)]
    portable: Vec<Op>,
}

fn op(name: &str) -> Result<Op, String> {
    let names = || Op::ALL.map(Op::name).join(", ");
    Op::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| format!("expected one of {}", names()))
}

impl DeviceArg {
    pub(super) fn open(&self) -> Result<Device, MeasureError> {
        self.portable.iter().for_each(|op| op.use_own(false));
        Ok(parse_device(&self.device)?)
    }
}
