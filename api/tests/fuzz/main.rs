//! Whatever a client sends, it gets a response, nothing panics, and errors are short.
//! `PROPTEST_CASES=n` for n cases of each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test that is how a failure looks")]

mod edges;
mod server;

/// Measures the memory of each case.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
