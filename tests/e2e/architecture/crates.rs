//! Where a source file names a crate of a family.

use super::{
    names::{Declared, Named, Names, Tests},
    workspace::Package,
};

/// Crates that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `redis`, and what is built on it by its name, as `deadpool-redis`.
    Redis,
    /// `candle-core` and the others.
    Candle,
}

impl Family {
    /// Whether a crate belongs to it, by the name that its registry has for it.
    pub fn has(self, name: &str) -> bool {
        let mut words = name.split(['-', '_']);
        match self {
            Self::Redis => words.any(|word| word == "redis"),
            Self::Candle => words.next() == Some("candle"),
        }
    }

    /// The names that a package's manifest gives to crates of the family beside their own.
    pub fn names_in(self, package: &Package) -> Vec<String> {
        let ours = package.dependencies.iter().filter(|dependency| self.has(&dependency.name));
        ours.map(|dependency| dependency.in_code.clone()).collect()
    }

    /// The places of a source text that name a crate of the family, as `line: path`.
    pub fn named_in(self, text: &str, renamed: &[String]) -> Vec<String> {
        let names = Names::of(text, Tests::Counted);
        let is_ours = |named: &&Named| {
            let Some(first) = named.segments.first() else { return false };
            let is_variable = named.segments.len() == 1 && !named.import;
            let is_ours = self.has(first) || renamed.contains(first);
            is_ours && !is_variable && is_crate(&names, named, first)
        };
        let found = names.paths.iter().filter(is_ours);
        found.map(|named| format!("{}: {}", named.line, named.segments.join("::"))).collect()
    }
}

/// Whether the first name of a path is a crate's: nothing of that name is declared beside it.
fn is_crate(names: &Names, named: &Named, first: &str) -> bool {
    let declared = names.scopes[named.scope].declared.get(first);
    named.absolute
        || declared.into_iter().flatten().all(|declared| match declared {
            // `use redis;` declares what it names.
            Declared::Import(import) => import.absolute || import.segments[0] == first,
            _ => false,
        })
}
