//! Tables of names, and what they make of a name.

use std::collections::BTreeMap;

use crate::sdxl::weights::{Naming, Stored, View};

/// diffusers' name of a module, then SGM's.
pub type Modules = BTreeMap<String, String>;

/// The name of what is in a module, or below it, by the longest entry of the table that fits.
pub fn rename(modules: &Modules, name: &str) -> Option<String> {
    let mut module = name;
    loop {
        if let Some(renamed) = modules.get(module) {
            return Some(format!("{renamed}{}", &name[module.len()..]));
        }
        module = &module[..module.rfind('.')?];
    }
}

/// Names by a table; what it does not list keeps its name.
pub(super) fn by_table(prefix: &str, modules: Modules, view: impl Fn(&str) -> View + 'static) -> Naming {
    Naming::new(prefix, move |name| Stored {
        name: rename(&modules, name).unwrap_or_else(|| name.to_owned()),
        view: view(name),
    })
}
