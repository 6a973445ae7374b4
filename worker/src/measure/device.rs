//! The device to measure.

use candle_core::Device;
use clap::Args;

use super::error::MeasureError;
use crate::pipeline::parse_device;

/// The device to measure.
#[derive(Debug, Args)]
pub struct DeviceArg {
    /// What to measure: `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "auto")]
    device: String,
}

impl DeviceArg {
    pub(super) fn open(&self) -> Result<Device, MeasureError> {
        Ok(parse_device(&self.device)?)
    }
}
