//! All kernels, and which test tells whether one is right.

use super::launch::{Finding, TYPES};
use super::program::{Damage, Program, damaged_sources, sources};
use super::{elementwise, norms, pictures, sampling};

/// A kernel's source, and what tells whether it is right.
pub(crate) struct Kernel {
    /// Without `.cu`.
    pub(crate) name: &'static str,
    /// Without the type's suffix.
    functions: &'static [&'static str],
    pub(crate) check: fn(&Program) -> Finding,
}

pub(crate) const KERNELS: [Kernel; 7] = [
    Kernel {
        name: "group_norm",
        functions: &["group_norm_statistics", "group_norm_apply"],
        check: norms::group_norm,
    },
    Kernel { name: "layer_norm", functions: &["layer_norm"], check: norms::layer_norm },
    Kernel { name: "geglu", functions: &["geglu"], check: elementwise::geglu },
    Kernel { name: "bias_residual", functions: &["bias_residual"], check: elementwise::bias_residual },
    Kernel { name: "guidance_step", functions: &["guidance_step"], check: sampling::guidance_step },
    Kernel { name: "pixels", functions: &["pixels"], check: pictures::pixels },
    Kernel { name: "finite", functions: &["finite"], check: pictures::finite },
];

pub(crate) fn kernel(name: &str) -> &'static Kernel {
    KERNELS.iter().find(|kernel| kernel.name == name).expect("a kernel of that name")
}

impl Kernel {
    /// The kernel as it is.
    pub(crate) fn program(&self) -> Program {
        Program::build(&sources().join(self.file()), &self.variants())
    }

    /// A damaged copy of it.
    pub(crate) fn damaged(&self, damage: &Damage) -> Program {
        let folder = damaged_sources(damage);
        Program::build(&folder.path().join(self.file()), &self.variants())
    }

    fn file(&self) -> String {
        format!("{}.cu", self.name)
    }

    /// The names of its functions, for each type.
    fn variants(&self) -> Vec<String> {
        let of = |name| TYPES.map(|(_, suffix)| format!("{name}_{suffix}"));
        self.functions.iter().flat_map(of).collect()
    }
}
