//! Reads which source file of a crate imports which, for the tests of layers and circles in all three crates.
//!
//! The crate's modules are found from its root by their `mod` declarations. An import is what a `use` names, and every path
//! in the code that begins with `crate`, `self`, `super` or a child module. A name that a module only passes on (`pub use`)
//! belongs to the file that it comes from.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file imports another. Both are named as below the crate's root folder: `engine/mod.rs`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: String,
    pub to: String,
    /// The path as the source has it.
    pub written: String,
}

/// The layers from the lowest to the highest, each with the prefixes of its files' names. The parts of one layer do not import each
/// other.
pub type Layers<'a> = &'a [&'a [&'a str]];

/// Fails with the names of both files if a file of the crate in `folder` imports from the same or a higher layer, or if a file is in no layer.
pub fn assert_imports_only_lower_layers(folder: &str, layers: Layers<'_>) {
    let root = root_of(folder);
    let found = faults(&files(&root), &imports(&root), layers);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Fails where more than four files of the crate in `folder` import each other in a circle.
pub fn no_large_circle(folder: &str) {
    assert_eq!(circles(&imports(&root_of(folder)), 4), []);
}

fn root_of(folder: &str) -> PathBuf {
    Path::new(folder).join("src/lib.rs")
}

type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    file: String,
    /// Names brought by `use`, and what they stand for.
    bound: BTreeMap<String, Vec<String>>,
    /// The code without its `use` lines.
    code: Vec<TokenTree>,
    uses: Vec<Use>,
}

struct Use {
    path: Vec<String>,
    /// What the module calls it; `None` for `*` and `_`.
    name: Option<String>,
    public: bool,
}

/// All imports between the files of the crate whose root is `root` (`src/lib.rs`), sorted, each pair of files once.
pub fn imports(root: &Path) -> Vec<Import> {
    let sources = Sources::read(root);
    let mut found = BTreeMap::new();
    for (here, module) in &sources.modules {
        let spelled = identifiers(&module.code);
        let mut paths: Vec<&[String]> = (module.uses.iter())
            // A name that is only passed on is no import of this file.
            .filter(|line| !line.public || line.name.as_ref().is_none_or(|name| spelled.contains(name)))
            .map(|line| line.path.as_slice())
            .collect();
        let inline = paths_in(&module.code);
        paths.extend(inline.iter().map(Vec::as_slice));
        for path in paths {
            let Some(to) = sources.file_of(here, path) else {
                continue;
            };
            if to != module.file {
                found
                    .entry((module.file.clone(), to))
                    .or_insert_with(|| path.join("::"));
            }
        }
    }
    found
        .into_iter()
        .map(|((from, to), written)| Import { from, to, written })
        .collect()
}

/// Every file of the crate.
pub fn files(root: &Path) -> BTreeSet<String> {
    Sources::read(root)
        .modules
        .into_values()
        .map(|module| module.file)
        .collect()
}

/// What is wrong with the crate's layers: files in none, entries without files, and imports from the same or a higher layer.
pub fn faults(files: &BTreeSet<String>, imports: &[Import], layers: Layers<'_>) -> Vec<String> {
    let entries =
        || (layers.iter().enumerate()).flat_map(|(layer, parts)| parts.iter().map(move |&part| (layer, part)));
    // The longest prefix wins: `engine/mod.rs` before `engine/`.
    let place = |file: &str| {
        entries()
            .filter(|(_, part)| file.starts_with(part))
            .max_by_key(|(_, part)| part.len())
    };

    let without_layer = files.iter().filter(|file| place(file).is_none());
    let without_layer = without_layer.map(|file| format!("{file} is in no layer"));
    let empty = entries().filter(|(_, part)| !files.iter().any(|file| place(file).is_some_and(|own| own.1 == *part)));
    let empty = empty.map(|(_, part)| format!("the layers name {part}, where there is no file"));
    let upward = imports.iter().filter_map(|Import { from, to, written }| {
        let (here, there) = (place(from)?, place(to)?);
        let wrong = here != there && there.0 >= here.0;
        let how = if here.0 == there.0 {
            "the same layer"
        } else {
            "a higher layer"
        };
        wrong.then(|| format!("{from} imports {to} ({written}), which is in {how}"))
    });
    without_layer.chain(empty).chain(upward).collect()
}

/// The sets of more than `limit` files each of which reaches all others by imports.
pub fn circles(imports: &[Import], limit: usize) -> Vec<BTreeSet<String>> {
    let mut onward: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for import in imports {
        onward.entry(&import.from).or_default().push(&import.to);
    }
    let reached = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for &next in onward.get(file).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = onward.keys().map(|&file| (file, reached(file))).collect();
    let circle = |file: &str| -> BTreeSet<String> {
        let others = reach[file]
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(file)));
        others.map(|&other| other.to_owned()).collect()
    };
    let all: BTreeSet<BTreeSet<String>> = onward.keys().map(|&file| circle(file)).collect();
    all.into_iter().filter(|files| files.len() > limit).collect()
}

struct Sources {
    folder: PathBuf,
    modules: BTreeMap<ModulePath, Module>,
    /// Macros by name: they are reached as if they stood in the crate's root.
    macros: BTreeMap<String, String>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let folder = root.parent().expect("a crate's root lies in a folder").to_owned();
        let mut sources = Self {
            folder,
            modules: BTreeMap::new(),
            macros: BTreeMap::new(),
        };
        let name = root.file_name().expect("a file has a name").to_string_lossy();
        sources.read_file(Vec::new(), &name, "");
        sources
    }

    /// Reads the file of the module `here`, whose children lie in the folder `below`.
    fn read_file(&mut self, here: ModulePath, file: &str, below: &str) {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let code: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        self.read_module(here, file, below, code);
    }

    fn read_module(&mut self, here: ModulePath, file: &str, below: &str, code: TokenStream) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        let mut children = Vec::new();
        self.sort(code, &mut module, &mut children);
        for line in &module.uses {
            if let Some(name) = &line.name {
                module.bound.insert(name.clone(), line.path.clone());
            }
        }
        self.modules.insert(here.clone(), module);
        for (name, body) in children {
            let path = [here.as_slice(), std::slice::from_ref(&name)].concat();
            let inside = format!("{below}{name}/");
            if let Some(body) = body {
                self.read_module(path, file, &inside, body);
                continue;
            }
            let sibling = format!("{below}{name}.rs");
            let own = if self.folder.join(&sibling).is_file() {
                sibling
            } else {
                format!("{inside}mod.rs")
            };
            self.read_file(path, &own, &inside);
        }
    }

    /// Parts a module's code into `use` lines, child modules and the rest.
    fn sort(&mut self, code: TokenStream, module: &mut Module, children: &mut Vec<(String, Option<TokenStream>)>) {
        let tokens: Vec<TokenTree> = code.into_iter().collect();
        let mut at = 0;
        let mut public = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(word) if word == "pub" => {
                    public = true;
                    // `pub(crate)`
                    if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
                    {
                        at += 1;
                    }
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = (at..tokens.len())
                        .find(|&i| is_punct(tokens.get(i), ';'))
                        .unwrap_or(tokens.len());
                    flatten(&tokens[at..end], &[], public, &mut module.uses);
                    at = end + 1;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at) {
                        let body = match tokens.get(at + 1) {
                            Some(TokenTree::Group(group)) => Some(group.stream()),
                            _ => None,
                        };
                        children.push((name.to_string(), body));
                        at += 2;
                    }
                }
                TokenTree::Ident(word) if word == "macro_rules" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        self.macros.insert(name.to_string(), module.file.clone());
                    }
                    module.code.push(token.clone());
                }
                // A `use` may stand in a function. What it names is not known outside, but the file imports it.
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    self.sort(group.stream(), module, children);
                }
                other => module.code.push(other.clone()),
            }
            public = false;
        }
    }

    /// The file that defines what `path` names in the module `here`; `None` for what is not of this crate.
    fn file_of(&self, here: &ModulePath, path: &[String]) -> Option<String> {
        let mut path = self.absolute(here, path)?;
        // Names that are passed on are followed; a circle of them would not compile.
        for _ in 0..16 {
            let known = (0..=path.len())
                .rev()
                .find(|&n| self.modules.contains_key(&path[..n]))?;
            let (module, rest) = (path[..known].to_vec(), path[known..].to_vec());
            let holder = &self.modules[&module];
            let Some(name) = rest.first() else {
                return Some(holder.file.clone());
            };
            if module.is_empty()
                && let Some(file) = self.macros.get(name)
            {
                return Some(file.clone());
            }
            let onward = holder.bound.get(name).and_then(|target| self.absolute(&module, target));
            let Some(onward) = onward else {
                // Passed on from another crate, or this module's own.
                let foreign = holder.bound.contains_key(name);
                return (!foreign).then(|| holder.file.clone());
            };
            path = [onward.as_slice(), &rest[1..]].concat();
        }
        None
    }

    /// `path` from the crate's root; `None` where it begins with another crate.
    fn absolute(&self, here: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let mut base = here.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [base.as_slice(), &[first.to_owned()]].concat();
                if !self.modules.contains_key(&child) {
                    return None;
                }
            }
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }
}

/// The paths of a `use` tree, its braces opened.
fn flatten(tokens: &[TokenTree], front: &[String], public: bool, out: &mut Vec<Use>) {
    let mut path = front.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(word) if word == "as" => {
                let name = tokens.get(at).map(ToString::to_string).filter(|name| name != "_");
                return out.push(Use { path, name, public });
            }
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner
                    .split(|token| is_punct(Some(token), ','))
                    .filter(|part| !part.is_empty())
                {
                    flatten(part, &path, public, out);
                }
                return;
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                return out.push(Use {
                    path,
                    name: None,
                    public,
                });
            }
            _ => {}
        }
    }
    // `use a::{self}` is `use a`.
    if path.len() > 1 && path.last().is_some_and(|word| word == "self") {
        path.pop();
    }
    let name = path.last().cloned();
    out.push(Use { path, name, public });
}

/// Every path of at least two parts in the code.
fn paths_in(code: &[TokenTree]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < code.len() {
        match &code[at] {
            TokenTree::Group(group) => {
                paths.extend(paths_in(&group.stream().into_iter().collect::<Vec<_>>()));
                at += 1;
            }
            TokenTree::Ident(first) => {
                let mut path = vec![first.to_string()];
                at += 1;
                while let Some(TokenTree::Ident(next)) = code.get(at + 2)
                    && is_punct(code.get(at), ':')
                    && is_punct(code.get(at + 1), ':')
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
    paths
}

fn identifiers(code: &[TokenTree]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for token in code {
        match token {
            TokenTree::Ident(name) => drop(names.insert(name.to_string())),
            TokenTree::Group(group) => names.extend(identifiers(&group.stream().into_iter().collect::<Vec<_>>())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    names
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}
