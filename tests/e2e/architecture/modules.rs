//! A crate's modules and which of them use which, read from its sources.
//!
//! A module is a file, with its inline modules. It uses another module if its code names an item of that module: by an
//! import, a re-export or a path, through any number of re-exports. So a module that re-exports an item of a child
//! module uses the child, and not the other way round. A module that is only a part of a path is not used, and neither
//! is `mod name;`. A method call names nothing, so a use by method calls alone is not found. Code that is only for
//! tests does not count in a library or a program.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::names::{Declared, Named, Names, Tests};

/// The modules of one crate, in the order they were found; the first is the crate's root.
pub struct Crate {
    modules: Vec<Module>,
}

struct Module {
    /// Its path: `store::redis::hub`; the root is `crate`.
    name: String,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    names: Names,
}

/// A use of one module by another, by their names, and a place where it is written.
pub type Uses = BTreeMap<String, BTreeMap<String, usize>>;

/// A scope of a module.
type Place = (usize, usize);

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Scope(Place),
    /// An item that this module defines.
    Item(usize),
}

impl Crate {
    /// Reads a crate from its root file and the files of its modules.
    pub fn read(root: &Path, tests: Tests) -> Self {
        let mut modules = Vec::new();
        let folder = root.parent().expect("a file lies in a folder");
        Module::read("crate".to_owned(), None, (root, folder), tests, &mut modules);
        Self { modules }
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Which module uses which.
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (at, module) in self.modules.iter().enumerate() {
            for named in &module.names.paths {
                for target in self.resolve(at, named, &mut HashSet::new()) {
                    let used = match target {
                        Target::Item(used) => used,
                        // Whatever `use module::*` brings in.
                        Target::Scope((used, _)) if self.is_glob(at, named) => used,
                        Target::Scope(_) => continue,
                    };
                    if used != at {
                        let by = uses.entry(module.name.clone()).or_default();
                        by.entry(self.modules[used].name.clone()).or_insert(named.line);
                    }
                }
            }
        }
        uses
    }

    fn is_glob(&self, module: usize, named: &Named) -> bool {
        self.modules[module].names.scopes[named.scope].globs.contains(named)
    }

    fn resolve(&self, module: usize, named: &Named, seen: &mut HashSet<(Place, String)>) -> Vec<Target> {
        let here = (module, named.scope);
        let Some(first) = named.segments.first().filter(|_| !named.absolute) else { return Vec::new() };
        let mut targets = match first.as_str() {
            "crate" => vec![Target::Scope((0, 0))],
            "self" => vec![Target::Scope(here)],
            "super" => self.above(here).map(Target::Scope).into_iter().collect(),
            name => self.lookup(here, name, seen),
        };
        for segment in &named.segments[1..] {
            let further = targets.into_iter().flat_map(|target| match target {
                Target::Scope(scope) if segment == "super" => {
                    self.above(scope).map(Target::Scope).into_iter().collect()
                }
                Target::Scope(scope) => {
                    let found = self.lookup(scope, segment, seen);
                    // A macro's work, which is not seen here, but which is this module's.
                    if found.is_empty() { vec![Target::Item(scope.0)] } else { found }
                }
                // A variant, an associated item.
                Target::Item(module) => vec![Target::Item(module)],
            });
            targets = further.collect();
        }
        targets
    }

    /// What a name in a scope stands for, there and by what it imports.
    fn lookup(&self, scope: Place, name: &str, seen: &mut HashSet<(Place, String)>) -> Vec<Target> {
        if !seen.insert((scope, name.to_owned())) {
            return Vec::new();
        }
        let (module, inner) = scope;
        let names = &self.modules[module].names;
        let mut targets = Vec::new();
        for declared in names.scopes[inner].declared.get(name).into_iter().flatten() {
            match declared {
                Declared::Item => targets.push(Target::Item(module)),
                Declared::File { .. } => {
                    let child = self.modules[module].children.get(&key(inner, name));
                    targets.extend(child.map(|child| Target::Scope((*child, 0))));
                }
                Declared::Inline { scope } => targets.push(Target::Scope((module, *scope))),
                Declared::Import(import) => targets.extend(self.resolve(module, import, seen)),
            }
        }
        if targets.is_empty() {
            for glob in &names.scopes[inner].globs {
                for target in self.resolve(module, glob, seen) {
                    if let Target::Scope(other) = target {
                        targets.extend(self.lookup(other, name, seen));
                    }
                }
            }
        }
        seen.remove(&(scope, name.to_owned()));
        targets
    }

    fn above(&self, (module, scope): Place) -> Option<Place> {
        match self.modules[module].names.scopes[scope].parent {
            Some(outer) => Some((module, outer)),
            // A module whose `mod` is between braces would be a scope deeper; nobody writes that here.
            None => self.modules[module].parent.map(|parent| (parent, 0)),
        }
    }
}

fn key(scope: usize, name: &str) -> String {
    if scope == 0 { name.to_owned() } else { format!("{scope}::{name}") }
}

impl Module {
    /// Reads a module's file and those below it. `folder` is where the files of its own modules lie.
    fn read(
        name: String,
        parent: Option<usize>,
        (file, folder): (&Path, &Path),
        tests: Tests,
        modules: &mut Vec<Self>,
    ) -> usize {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let names = Names::of(&text, tests);
        let below: Vec<(usize, String, Option<String>)> = names
            .scopes
            .iter()
            .enumerate()
            .flat_map(|(scope, declared)| declared.declared.iter().map(move |(name, all)| (scope, name, all)))
            .flat_map(|(scope, name, all)| all.iter().map(move |one| (scope, name, one)))
            .filter_map(|(scope, name, one)| match one {
                Declared::File { path } => Some((scope, name.clone(), path.clone())),
                _ => None,
            })
            .collect();
        let at = modules.len();
        modules.push(Self { name: name.clone(), parent, children: HashMap::new(), names });
        for (scope, child, path) in BTreeSet::from_iter(below) {
            let (file, folder) = match path {
                Some(path) => {
                    let file = file.parent().unwrap_or(Path::new(".")).join(path);
                    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
                    (file, folder)
                }
                None => module_file(folder, &child),
            };
            let full = if parent.is_none() { child.clone() } else { format!("{name}::{child}") };
            let read = Self::read(full, Some(at), (&file, &folder), tests, modules);
            modules[at].children.insert(key(scope, &child), read);
        }
        at
    }
}

/// `name.rs` or `name/mod.rs`, and where the modules below it lie.
fn module_file(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (file, below) = (folder.join(format!("{name}.rs")), folder.join(name));
    if file.is_file() { (file, below) } else { (below.join("mod.rs"), below) }
}
