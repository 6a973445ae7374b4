//! Samplers: tables of timesteps and noise levels, and one tensor update per step.
//!
//! Each sampler implements diffusers' class of the same name, each method in one file; `classes` lists them. It is
//! built for one job, from the checkpoint's `scheduler_config.json` and the job's changes to it.

mod beta;
mod churn;
mod classes;
mod config;
mod ddim;
mod ddpm;
mod defaults;
mod deis;
mod dpm_solver;
mod dpm_solver_sde;
mod dpm_solver_singlestep;
mod edm;
mod edm_euler;
mod euler;
mod euler_ancestral;
mod heun;
mod k_dpm_2;
mod lcm;
mod lists;
mod lms;
mod multistep;
mod noise_schedule;
mod pndm;
mod prediction;
mod sampler;
mod sigmas;
mod spacing;
mod tcd;
mod unipc;

pub use classes::SCHEDULERS;
pub use config::SchedulerConfig;
pub use sampler::{Noise, Sampler, SamplerState, Stepped};
