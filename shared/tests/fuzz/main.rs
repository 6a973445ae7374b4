//! Whatever stands in Redis or comes from a client, reading it ends with a value or an error, and takes no more memory
//! than is said. `PROPTEST_CASES=n` for n cases of each.

#![expect(clippy::unwrap_used, reason = "in a test that is how a failure looks")]

mod events;
mod names;
mod pictures;

/// So that what a case takes can be measured.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
