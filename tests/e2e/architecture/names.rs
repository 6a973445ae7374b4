//! What a source file names: the items it declares, what it imports, and every path, also inside macros and
//! attributes. Comments and strings are not code and name nothing.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Ident, ImplItemFn, Item, ItemExternCrate, ItemFn, ItemMod, ItemUse, Macro, Meta, TraitItemFn,
    UseTree,
    visit::{self, Visit},
};

/// A path as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The scope of the file that the path is written in: an index into [`Names::scopes`].
    pub scope: usize,
    /// Whether it begins with `::`, which always means another crate.
    pub absolute: bool,
    /// Whether it is one of `use` or `extern crate`, where one name alone can be a crate's.
    pub import: bool,
    pub segments: Vec<String>,
    pub line: usize,
}

/// What a name in a scope stands for.
#[derive(Debug, Clone)]
pub enum Declared {
    /// A function, a type, a constant and so on.
    Item,
    /// A module in a file of its own, with the file that its `#[path]` names.
    File { path: Option<String> },
    /// A module between braces.
    Inline { scope: usize },
    /// An import.
    Import(Named),
}

/// A file is one scope, and each module between braces is one more.
#[derive(Debug, Default)]
pub struct Scope {
    pub parent: Option<usize>,
    pub declared: HashMap<String, Vec<Declared>>,
    /// What `use path::*` brings in.
    pub globs: Vec<Named>,
}

/// What one file names.
#[derive(Debug)]
pub struct Names {
    pub scopes: Vec<Scope>,
    pub paths: Vec<Named>,
}

/// Whether code that is only compiled for tests counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    Counted,
    LeftOut,
}

impl Names {
    /// Reads a file's text.
    pub fn of(text: &str, tests: Tests) -> Self {
        let file = syn::parse_file(text).expect("a source file that parses");
        let names = Self { scopes: vec![Scope::default()], paths: Vec::new() };
        let mut reader = Reader { names, scope: 0, depth: 0, tests };
        reader.visit_file(&file);
        reader.names
    }
}

struct Reader {
    names: Names,
    scope: usize,
    /// How many functions are around the place that is read. Their items are not the module's.
    depth: usize,
    tests: Tests,
}

impl Reader {
    fn leaves_out(&self, attributes: &[Attribute]) -> bool {
        self.tests == Tests::LeftOut && attributes.iter().any(is_for_tests)
    }

    fn declare(&mut self, name: &Ident, declared: Declared) {
        if self.depth == 0 {
            let name = unraw(name);
            self.names.scopes[self.scope].declared.entry(name).or_default().push(declared);
        }
    }

    fn named(&self, absolute: bool, segments: Vec<String>, line: usize) -> Named {
        Named { scope: self.scope, absolute, import: false, segments, line }
    }

    fn imported(&self, absolute: bool, segments: Vec<String>, line: usize) -> Named {
        Named { import: true, ..self.named(absolute, segments, line) }
    }

    fn import(&mut self, item: &ItemUse, tree: &UseTree, before: &[String]) {
        let with = |name: &Ident| [before, &[unraw(name)]].concat();
        let (segments, name, line) = match tree {
            UseTree::Path(path) => return self.import(item, &path.tree, &with(&path.ident)),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(item, tree, before));
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.span.start().line;
                let named = self.imported(item.leading_colon.is_some(), before.to_vec(), line);
                if self.depth == 0 {
                    self.names.scopes[self.scope].globs.push(named.clone());
                }
                return self.names.paths.push(named);
            }
            // `use path::{self}` names the path itself.
            UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned(), &name.ident)
            }
            UseTree::Name(name) => (with(&name.ident), Some(unraw(&name.ident)), &name.ident),
            UseTree::Rename(rename) => {
                let own = rename.ident == "self";
                let segments = if own { before.to_vec() } else { with(&rename.ident) };
                (segments, Some(unraw(&rename.rename)), &rename.ident)
            }
        };
        let named = self.imported(item.leading_colon.is_some(), segments, line.span().start().line);
        if let Some(name) = name.filter(|_| self.depth == 0) {
            let scope = &mut self.names.scopes[self.scope];
            scope.declared.entry(name).or_default().push(Declared::Import(named.clone()));
        }
        self.names.paths.push(named);
    }

    /// The paths in the tokens of a macro or an attribute, which are no syntax tree.
    fn tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<_> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let TokenTree::Group(group) = token {
                self.tokens(&group.stream());
            }
            let TokenTree::Ident(first) = token else {
                at += 1;
                continue;
            };
            // After `x.` it is a member, after `Type::` or `>::` the rest of something else.
            let absolute = is_colons(&tokens, at.wrapping_sub(2));
            let member =
                at > 0 && is_punct(&tokens[at - 1], '.') && !(at > 1 && is_punct(&tokens[at - 2], '.'));
            let goes_on = absolute
                && at.checked_sub(3).is_some_and(|before| {
                    matches!(tokens[before], TokenTree::Ident(_)) || is_punct(&tokens[before], '>')
                });
            let mut segments = vec![unraw(first)];
            at += 1;
            while let (true, Some(TokenTree::Ident(next))) = (is_colons(&tokens, at), tokens.get(at + 2)) {
                segments.push(unraw(next));
                at += 3;
            }
            if !member && !goes_on {
                let line = first.span().start().line;
                self.names.paths.push(self.named(absolute, segments, line));
            }
        }
    }

    fn within_function(&mut self, read: impl FnOnce(&mut Self)) {
        self.depth += 1;
        read(self);
        self.depth -= 1;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::ExternCrate(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if self.leaves_out(attributes) {
            return;
        }
        if let Some(name) = name {
            self.declare(name, Declared::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else {
            let path = item.attrs.iter().find_map(path_attribute);
            return self.declare(&item.ident, Declared::File { path });
        };
        let scope = self.names.scopes.len();
        self.names.scopes.push(Scope { parent: Some(self.scope), ..Scope::default() });
        self.declare(&item.ident, Declared::Inline { scope });
        let (outer, depth) = (std::mem::replace(&mut self.scope, scope), std::mem::take(&mut self.depth));
        items.iter().for_each(|item| self.visit_item(item));
        (self.scope, self.depth) = (outer, depth);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(item, &item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        let named = self.imported(true, vec![unraw(&item.ident)], item.ident.span().start().line);
        let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
        self.declare(name, Declared::Import(named.clone()));
        self.names.paths.push(named);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.within_function(|reader| visit::visit_item_fn(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !self.leaves_out(&item.attrs) {
            self.within_function(|reader| visit::visit_impl_item_fn(reader, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.within_function(|reader| visit::visit_trait_item_fn(reader, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| unraw(&segment.ident)).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.names.paths.push(self.named(path.leading_colon.is_some(), segments, line));
        // Generic arguments have paths of their own.
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, found: &'ast Macro) {
        self.visit_path(&found.path);
        self.tokens(&found.tokens);
    }

    fn visit_meta(&mut self, meta: &'ast Meta) {
        if let Meta::List(list) = meta {
            self.tokens(&list.tokens);
        }
        visit::visit_meta(self, meta);
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let Meta::List(list) = &attribute.meta else { return false };
    let is = |token: Option<&TokenTree>, name: &str| matches!(token, Some(TokenTree::Ident(i)) if i == name);
    let tokens: Vec<_> = list.tokens.clone().into_iter().collect();
    let all = match tokens.as_slice() {
        [all, TokenTree::Group(group)] if is(Some(all), "all") => group.stream().into_iter().collect(),
        _ => tokens,
    };
    list.path.is_ident("cfg")
        && all.split(|token| is_punct(token, ',')).any(|part| part.len() == 1 && is(part.first(), "test"))
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
    pair.path.is_ident("path").then(|| text.value())
}

fn unraw(name: &Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

fn is_punct(token: &TokenTree, expected: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == expected)
}

/// Whether there is a `::` at this place.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    [at, at.wrapping_add(1)].iter().all(|at| tokens.get(*at).is_some_and(|token| is_punct(token, ':')))
}
