//! Whatever stands in a model's files, in a LoRA, in a checkpoint or in a job's pictures: reading it ends with what it
//! is or with an error that says where it is wrong, and takes no more memory than is said. `PROPTEST_CASES=n` for n
//! cases of each.

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

/// So that what a case takes can be measured.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
