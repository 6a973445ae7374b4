//! Any request gets a response, nothing panics, and error responses are short. `PROPTEST_CASES=n` runs n cases of each
//! test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test that is how a failure looks")]

mod edges;
mod server;

/// Measures the memory of each case.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
