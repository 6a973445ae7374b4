//! The LoRAs of one job.

use std::rc::Rc;

use super::error::PipelineError;
use super::lora_files::Stamp;
use crate::sdxl::lora::{LoraFile, LoraTarget};

/// The strengths of a LoRA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scales {
    pub(super) unet: f64,
    pub(super) text: f64,
}

/// One LoRA of a set.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name in the request.
    pub(super) name: String,
    pub(super) stamp: Stamp,
    pub(super) file: Rc<LoraFile>,
    pub(super) scales: Scales,
    /// The text encoder of the changes that do not name one.
    pub(super) encoder: usize,
}

impl Entry {
    /// Its strength in a component.
    pub(super) fn scale(&self, component: LoraTarget) -> f64 {
        match component {
            LoraTarget::Unet => self.scales.unet,
            LoraTarget::TextEncoder(_) | LoraTarget::AnyTextEncoder => self.scales.text,
        }
    }

    /// The component with its number, if it is a text encoder.
    pub(super) fn resolved(&self, component: LoraTarget) -> LoraTarget {
        match component {
            LoraTarget::AnyTextEncoder => LoraTarget::TextEncoder(self.encoder),
            component => component,
        }
    }
}

/// A checked set of LoRAs, in the order of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct LoraSet(Vec<Entry>);

impl LoraSet {
    /// Adds a LoRA.
    pub(super) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// The LoRAs.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The error for numbers that are not finite. With LoRAs the request is at fault: their weights are finite, but too
    /// large for the model. Without them it is a fault.
    pub(super) fn not_finite(&self, what: &str) -> PipelineError {
        let names: Vec<&str> = self.0.iter().map(|entry| entry.name.as_str()).collect();
        match names.as_slice() {
            [] => PipelineError::fault(format!("{what} is not finite")),
            names => PipelineError::bad(
                "loras",
                format!("{}: {what} is not finite: use a smaller scale or another file", names.join(", ")),
            ),
        }
    }
}

impl PartialEq for LoraSet {
    fn eq(&self, other: &Self) -> bool {
        let states = |set: &Self| -> Vec<_> {
            set.0.iter().map(|entry| (entry.stamp.clone(), entry.scales)).collect()
        };
        states(self) == states(other)
    }
}
