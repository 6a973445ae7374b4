//! Glimpse.
fn main() {}
