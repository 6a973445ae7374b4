//! Samplers: tables of timesteps and noise levels, and one tensor update per step.
//!
//! Each sampler implements diffusers' class of the same name in one file. It is built for one job, from the
//! checkpoint's `scheduler_config.json` and the job's changes to it.

mod config;
mod ddim;
mod defaults;
mod dpm_solver;
mod euler;
mod euler_ancestral;
mod heun;
mod lcm;
mod multistep;
mod noise_schedule;
mod prediction;
mod sampler;
mod sigmas;
mod spacing;
mod unipc;

pub use config::{SCHEDULERS, SchedulerConfig};
pub use sampler::{Noise, Sampler, SamplerState, Stepped};
