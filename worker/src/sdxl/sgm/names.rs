//! Tables of module names.

use std::collections::BTreeMap;

use crate::sdxl::weights::{Naming, Stored, View};

/// SGM's name of each module, by diffusers' name.
pub type Modules = BTreeMap<String, String>;

/// Translates a name with the longest entry that is equal to it or a parent of it.
pub fn rename(modules: &Modules, name: &str) -> Option<String> {
    let mut module = name;
    loop {
        if let Some(renamed) = modules.get(module) {
            return Some(format!("{renamed}{}", &name[module.len()..]));
        }
        module = &module[..module.rfind('.')?];
    }
}

/// The naming of a table. Other names are unchanged.
pub(super) fn by_table(prefix: &str, modules: Modules, view: impl Fn(&str) -> View + 'static) -> Naming {
    Naming::new(prefix, move |name| Stored {
        name: rename(&modules, name).unwrap_or_else(|| name.to_owned()),
        view: view(name),
    })
}
