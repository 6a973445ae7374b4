//! Whatever is in Redis or comes from a client, reading it returns a value or an error, and uses no more memory than
//! the stated bound. `PROPTEST_CASES=n` for n cases of each.

#![expect(clippy::unwrap_used, reason = "in a test that is how a failure looks")]

mod events;
mod names;
mod pictures;

/// Measures the memory of each case.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
