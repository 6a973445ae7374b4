//! Whatever is in a model's files, in a LoRA, in a checkpoint or in a job's pictures: reading it returns a value or an
//! error that says where it is wrong, and uses no more memory than the stated bound. `PROPTEST_CASES=n` runs n cases of
//! each.

#![expect(clippy::expect_used, reason = "in a test that is how a failure looks")]

mod checkpoints;
mod configs;
mod copy;
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
