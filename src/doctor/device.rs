//! Checks a device: whether it opens, and how its operations compare with the portable ones.

use std::fmt::Display;

use glimpse_worker::{
    pipeline::{DeviceName, describe_device, parse_device},
    sdxl::LoadError,
    verify::{self, Scale, Table},
};
use serde_json::{Value, json};

use super::{check::Check, op_table};

/// A checked device.
pub struct Examined {
    /// Its line.
    pub check: Check,
    /// Its name.
    device: String,
    /// Its operations, if it works.
    table: Option<Table>,
}

/// Opens the device of this name and compares its operations.
pub fn examine(name: &str, small: bool) -> Examined {
    let device = match parse_device(name) {
        Ok(device) => device,
        Err(error) => return Examined::failed(name, reason(error), advice(name)),
    };
    let described = describe_device(&device);
    let scale = if small || device.is_cpu() { Scale::Small } else { Scale::Sdxl };
    let table = match verify::examine_device(&device, scale) {
        Ok(table) => table,
        Err(error) => return Examined::failed(&described, error.to_string(), BROKEN.to_owned()),
    };
    let mut remarks = Vec::new();
    if name == "auto" && device.is_cpu() {
        // `auto` found the same reason.
        let why = parse_device("cuda:0").err().map_or_else(|| "none was found".to_owned(), reason);
        remarks.push(format!("pictures are made without a GPU: {why}"));
    }
    if table.rows().is_empty() {
        remarks.push("all its operations are the portable ones".to_owned());
    } else if scale == Scale::Small {
        remarks.push("compared at small shapes".to_owned());
    }
    for op in table.wrong() {
        let then =
            if table.is_own_used(op) { "report this as a defect" } else { "the portable form is used" };
        remarks.push(format!("{} is wrong on this device: {then}", op.name()));
    }
    let check = Check::Ok { what: format!("device {described}"), remarks };
    Examined { check, device: described, table: Some(table) }
}

/// What to do about a device that opened and then failed.
const BROKEN: &str =
    "run it again; if it fails again, look for the GPU's errors in nvidia-smi and in the system log (dmesg)";

/// The error without the device's name, which is in the line already.
pub fn reason(error: LoadError) -> String {
    match error {
        LoadError::Device { message, .. } => message,
        other => other.to_string(),
    }
}

/// What to do about a device that does not open.
fn advice(name: &str) -> String {
    let how = match name.parse() {
        Ok(DeviceName::Metal(_)) => "build it with --features metal on a Mac",
        _ => "use the binary of scripts/build-cuda on a machine with an NVIDIA GPU (docs/operations.md)",
    };
    format!("{how}, or --device cpu")
}

impl Examined {
    fn failed(device: &str, why: String, advice: String) -> Self {
        let check = Check::Fail { what: format!("device {device}"), why, advice };
        Self { check, device: device.to_owned(), table: None }
    }

    /// A check that panicked.
    pub fn died(device: &str, error: &impl Display) -> Self {
        Self::failed(device, format!("the check of the device panicked: {error}"), BROKEN.to_owned())
    }

    /// The line, and the table of operations.
    pub fn text(&self) -> String {
        let table = self.table.as_ref().map(op_table::text).unwrap_or_default();
        format!("{}\n{table}", self.check)
    }

    /// One object: `device`, `ops`, and `error` if the check failed.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "device": self.device,
            "ops": self.table.as_ref().map(op_table::json).unwrap_or_default(),
        });
        if let Check::Fail { why, .. } = &self.check {
            object["error"] = why.as_str().into();
        }
        object
    }
}
