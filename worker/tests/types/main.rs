//! Weights and LoRAs of every dtype, and the files that cannot be used: an error names the tensor and the reason.

#[cfg(test)]
mod files;
#[cfg(test)]
mod loras;
#[cfg(test)]
mod model;
#[cfg(test)]
mod refusal;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod weights;
