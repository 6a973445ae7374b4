//! The rules for the pictures of a request.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test that is how a failure looks")]

mod any;
mod fields;
mod files;
mod gifs;
mod jpegs;
mod support;
mod uris;
