//! A wire: how the clients of one kind write requests, and read answers and errors.
//!
//! A wire is one value. The routes of a wire choose it once, in `routes`; the code behind them takes what the value
//! says and does not ask which wire it is.

mod definition;
mod detail;
mod fal;
mod openai;
mod own;

pub(crate) use definition::{Connected, PictureStream, Wire};
pub(crate) use fal::{FAL, error_type};
pub(crate) use openai::{OPENAI, error_event};
pub(crate) use own::OWN;
