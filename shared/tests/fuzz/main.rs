//! Any data from Redis or from a client is read as a value or gives an error, with bounded memory.
//! `PROPTEST_CASES=n` runs n cases of each test.

#![expect(clippy::unwrap_used, reason = "in a test that is how a failure looks")]

mod events;
mod names;
mod pictures;
mod recipes;

/// Measures the memory of each case.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
