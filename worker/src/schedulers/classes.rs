//! The supported classes of samplers.

use super::ddim::Ddim;
use super::ddpm::Ddpm;
use super::deis::Deis;
use super::dpm_solver::DpmSolver;
use super::dpm_solver_sde::DpmSolverSde;
use super::dpm_solver_singlestep::DpmSolverSinglestep;
use super::edm_euler::EdmEuler;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::heun::Heun;
use super::k_dpm_2::KDpm2;
use super::lcm::Lcm;
use super::lists::Lists;
use super::lms::Lms;
use super::pndm::Pndm;
use super::sampler::Sampler;
use super::tcd::Tcd;
use super::unipc::UniPc;
use crate::sdxl::{LoadError, Settings};

/// Builds a sampler for a number of steps.
pub(super) type Build = fn(&Settings, usize) -> Result<Box<dyn Sampler>, LoadError>;

/// The parameterisation of a model. A sampler of one family gives only noise with a model of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Discrete timesteps of a training with betas: SDXL and most others.
    Discrete,
    /// Continuous noise levels with the scales of EDM: Playground v2.5, CosXL.
    Edm,
}

/// One of diffusers' classes.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) lists: Lists,
    pub(super) build: Build,
}

const fn class(name: &'static str, lists: Lists, build: Build) -> Class {
    Class { name, family: Family::Discrete, lists, build }
}

const fn edm(name: &'static str, build: Build) -> Class {
    Class { name, family: Family::Edm, lists: Lists::None, build }
}

/// The supported classes.
pub(super) const CLASSES: &[Class] = &[
    class("EulerDiscreteScheduler", Lists::Both, |s, n| Ok(Box::new(Euler::new(s, n)?))),
    class("EulerAncestralDiscreteScheduler", Lists::None, |s, n| Ok(Box::new(EulerAncestral::new(s, n)?))),
    class("DDIMScheduler", Lists::None, |s, n| Ok(Box::new(Ddim::new(s, n)?))),
    class("DPMSolverMultistepScheduler", Lists::Timesteps, |s, n| Ok(Box::new(DpmSolver::new(s, n)?))),
    class("UniPCMultistepScheduler", Lists::None, |s, n| Ok(Box::new(UniPc::new(s, n)?))),
    class("LCMScheduler", Lists::Timesteps, |s, n| Ok(Box::new(Lcm::new(s, n)?))),
    class("HeunDiscreteScheduler", Lists::Timesteps, |s, n| Ok(Box::new(Heun::new(s, n)?))),
    class("DEISMultistepScheduler", Lists::None, |s, n| Ok(Box::new(Deis::new(s, n)?))),
    class("DDPMScheduler", Lists::Timesteps, |s, n| Ok(Box::new(Ddpm::new(s, n)?))),
    class("PNDMScheduler", Lists::None, |s, n| Ok(Box::new(Pndm::new(s, n)?))),
    class("LMSDiscreteScheduler", Lists::None, |s, n| Ok(Box::new(Lms::new(s, n)?))),
    class("KDPM2DiscreteScheduler", Lists::None, |s, n| Ok(Box::new(KDpm2::new(s, n)?))),
    class("KDPM2AncestralDiscreteScheduler", Lists::None, |s, n| Ok(Box::new(KDpm2::ancestral(s, n)?))),
    class("DPMSolverSinglestepScheduler", Lists::Timesteps, |s, n| {
        Ok(Box::new(DpmSolverSinglestep::new(s, n)?))
    }),
    class("DPMSolverSDEScheduler", Lists::None, |s, n| Ok(Box::new(DpmSolverSde::new(s, n)?))),
    class("TCDScheduler", Lists::Timesteps, |s, n| Ok(Box::new(Tcd::new(s, n)?))),
    edm("EDMEulerScheduler", |s, n| Ok(Box::new(EdmEuler::new(s, n)?))),
    edm("EDMDPMSolverMultistepScheduler", |s, n| Ok(Box::new(DpmSolver::edm(s, n)?))),
];

/// The supported classes, by diffusers' name.
pub const SCHEDULERS: &[&str] = &{
    let mut names = [""; CLASSES.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = CLASSES[i].name;
        i += 1;
    }
    names
};
