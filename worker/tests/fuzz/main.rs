//! Damaged model files, LoRAs, embeddings, ControlNets, checkpoints and pictures of jobs. Reading them returns a value, or an error that names
//! the place, and uses at most the stated memory. `PROPTEST_CASES=n` runs n cases of each test.

#![expect(clippy::expect_used, reason = "in a test that is how a failure looks")]

mod checkpoints;
mod configs;
mod controlnets;
mod copy;
mod embeddings;
mod files;
mod found;
mod loras;
mod pictures;
mod schedulers;
#[path = "../support/mod.rs"]
mod support;
mod tensors;

/// Measures the memory of each case.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
