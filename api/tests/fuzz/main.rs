//! Whatever a client sends, it gets an answer, nothing panics, and what is wrong is told in few words.
//! `PROPTEST_CASES=n` for n cases of each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test that is how a failure looks")]

mod edges;
mod server;

/// So that what a case takes can be measured.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
