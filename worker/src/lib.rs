//! The GPU side of Glimpse: claims jobs, makes pictures, publishes previews.
//!
//! `runner -> {claim, in_hand, lease, signals, reporter, engine, request}`, `request -> loras -> hub`, `reporter -> {encoded, picture_hook, kept, recipes}`, `engine -> pipeline -> {sdxl, schedulers, noise}`, `config ->
//! {hub, verify, pipeline}`, `measure -> {dump, pipeline, reporter}`; below the pipeline there is no tokio, no store
//! and no job.

pub mod checkpoints;
pub mod claim;
pub mod cli;
pub mod config;
pub mod controlnet_dir;
pub mod dump;
pub mod encoded;
pub mod engine;
pub mod health;
pub mod hub;
pub mod in_hand;
mod inside;
pub mod inspection;
pub mod kept;
pub mod lease;
pub mod loras;
pub mod measure;
pub mod noise;
pub mod outbox;
mod outcome;
pub mod picture_hook;
pub mod pipeline;
pub mod recipes;
pub mod registration;
pub mod reporter;
pub mod request;
pub mod runner;
pub mod schedulers;
pub mod sdxl;
pub mod signals;
pub mod starting;
pub mod steps_done;
pub mod verify;
