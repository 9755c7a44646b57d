//! Modules in order: in a crate root and in every module with children, a module imports only from siblings that are
//! declared above it.

use super::{code, is_test, without_comment};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Two modules that need each other: where they are, which one stands above, which one below, and why they are two.
const MUTUAL: [(&str, &str, &str, &str, &str); 13] = [
    ("engine", "peer::v1", "outbox", "bulk", "a part of the outbox, with its methods"),
    ("engine", "peer::v1", "outbox", "refresh", "a part of the outbox, with its methods"),
    ("engine", "peer::v1", "resend", "outbox", "a part of the outbox, which keeps its items"),
    ("engine", "peer::v2", "session", "handover", "a part of the session, with its methods"),
    ("host", "link", "tcp", "member", "a link is a member of a group, and finds its place there"),
    ("tools", "conf", "model", "schema", "defaults are the model's, a kind of value the schema's"),
    ("tools", "conntrackd", "plan", "helpers", "the plan has helpers, which are set up from it"),
    (
        "tools",
        "conntrackd",
        "supervise",
        "daemon",
        "the daemon runs it; a reload binds as the start does",
    ),
    ("tools", "ctflow::top", "app", "view", "the view draws the state; the state asks how wide"),
    ("tools", "filter", "parser", "spelling", "another spelling gives the same tree"),
    (
        "tools",
        "print",
        "stats",
        "status",
        "both print one report, which holds a part of the status",
    ),
    (
        "wire",
        "sync::v2::flow",
        "attribute",
        "canonical",
        "attributes are encoded in canonical form",
    ),
    ("xtask", "bench::cli", "rows", "report", "rows are measured and printed one by one"),
];

/// A module: the names on the way to it from the crate root, which is empty.
type Module = Vec<String>;

/// The modules of a crate.
pub(super) struct House {
    source: PathBuf,
    /// The children of each module that has some, as they are declared.
    children: BTreeMap<Module, Vec<String>>,
}

impl House {
    /// The crate whose `src` is `source`, with all its files.
    pub(super) fn new<'a>(
        source: &Path,
        files: impl Iterator<Item = (&'a PathBuf, &'a String)>,
    ) -> Self {
        let mut children = BTreeMap::new();
        for (path, text) in files {
            let declared = all_declared(text);
            if let Some(module) = module_of(source, path).filter(|_| !declared.is_empty()) {
                children.insert(module, declared);
            }
        }
        Self { source: source.to_owned(), children }
    }

    /// Where a file imports from a sibling of a module it is in that is declared below that one.
    pub(super) fn imports_from_below(&self, path: &Path, text: &str) -> Vec<(usize, String)> {
        let Some(own) = module_of(&self.source, path).filter(|_| !is_test(path)) else {
            return Vec::new();
        };
        let text: String =
            code(text).map(|(_, line)| without_comment(line).to_owned() + "\n").collect();
        let imports = imported(&text, &own).into_iter();
        let found = imports.filter_map(|(at, import)| {
            let line = text[..at].matches('\n').count() + 1;
            let (own, below) = self.is_below(&own, &import)?;
            Some((line, format!("`{own}` imports from `{below}`, which is declared below it")))
        });
        found.collect()
    }

    /// The siblings where the ways to a module and to what it imports part, if the import comes later.
    fn is_below<'a>(&self, own: &'a [String], import: &'a [String]) -> Option<(&'a str, &'a str)> {
        let parting = own.iter().zip(import).position(|(own, import)| own != import)?;
        let siblings_of = &own[..parting];
        let siblings = self.children.get(siblings_of)?;
        let place = |name: &str| siblings.iter().position(|sibling| sibling == name);
        let (own, import) = (&own[parting], &import[parting]);
        let is_below = place(import)? > place(own)?;
        let is_mutual = || {
            let krate = self.source.parent().and_then(Path::file_name).unwrap_or_default();
            let here = siblings_of.join("::");
            MUTUAL.iter().any(|(name, module, above, below, _)| {
                krate == *name && here == *module && own == above && import == below
            })
        };
        (is_below && !is_mutual()).then_some((own.as_str(), import.as_str()))
    }
}

/// The module that a file holds; `None` if it is no part of the crate in `source` but a program beside it.
fn module_of(source: &Path, path: &Path) -> Option<Module> {
    let inside = path.strip_prefix(source).ok()?.with_extension("");
    let mut names: Module = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.first().is_some_and(|first| first == "bin") {
        return None;
    }
    names.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
    Some(names)
}

/// The modules that a file declares, in order; modules of tests aside, which may use everything.
fn all_declared(text: &str) -> Vec<String> {
    let mut before = "";
    let mut all = Vec::new();
    for (_, line) in code(text) {
        all.extend(declared(line).filter(|_| before != "#[cfg(test)]").map(String::from));
        before = line;
    }
    all
}

/// The module that a line declares.
fn declared(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub").map_or(line, |rest| {
        let inside = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        inside.map_or(rest, |(_, rest)| rest).trim_start()
    });
    rest.strip_prefix("mod ")?.strip_suffix(';')
}

/// What is named by a path from the crate's root or from a module above `own`, as a path from the root, and where.
fn imported(text: &str, own: &[String]) -> Vec<(usize, Module)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("::") {
        let start = text[..at].rfind(|c: char| !is_name(c)).map_or(0, |end| end + 1);
        // The path goes on from something else, or is a macro's.
        if text[..start].ends_with("::") || text[..start].ends_with('$') {
            continue;
        }
        let Some((base, rest)) = base(&text[start..], own) else { continue };
        let mut paths = Vec::new();
        tree(rest, &base, &mut paths);
        found.extend(paths.into_iter().map(|path| (start, path)));
    }
    found
}

/// The module that `crate::`, `self::` or `super::super::` in front of a path means, and the rest of the path.
fn base<'a>(path: &'a str, own: &[String]) -> Option<(Module, &'a str)> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some((Module::new(), rest));
    }
    if let Some(rest) = path.strip_prefix("self::") {
        return Some((own.to_vec(), rest));
    }
    let (mut base, mut rest) = (own.to_vec(), path.strip_prefix("super::")?);
    base.pop()?;
    while let Some(further) = rest.strip_prefix("super::") {
        base.pop()?;
        rest = further;
    }
    Some((base, rest))
}

/// Adds the paths of a use tree under `base`: `a::{b, c::d}` gives a::b and a::c::d. Returns the text behind the tree.
fn tree<'a>(text: &'a str, base: &[String], paths: &mut Vec<Module>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.chars().next() {
                None => return rest,
                Some('}') => return &rest[1..],
                Some(_) => {
                    let after = tree(rest, base, paths);
                    // What stands for nothing here: `*`, `as other`.
                    let other = after.find([',', '}']).unwrap_or(after.len());
                    rest = &after[other..];
                }
            }
        }
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    path.extend((!name.is_empty()).then(|| name.to_owned()));
    match rest.strip_prefix("::") {
        Some(rest) => tree(rest, &path, paths),
        None => {
            paths.push(path);
            rest
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split("::").filter(|name| !name.is_empty()).map(String::from).collect()
    }

    fn named(text: &str, own: &str) -> Vec<String> {
        imported(text, &module(own)).into_iter().map(|(_, path)| path.join("::")).collect()
    }

    #[test]
    fn every_way_to_import_is_seen() {
        let text =
            "use crate::a::X;\nuse crate::{b, c::{d, e as f}, g::*};\nlet x = crate::h::i();\n";
        assert_eq!(named(text, ""), ["a::X", "b", "c::d", "c::e", "g", "h::i"]);
        let text =
            "use super::{x, y::Z};\nuse super::super::w::V;\nuse other::super_::x;\n$crate::m!()\n";
        assert_eq!(named(text, "a::b"), ["a::x", "a::y::Z", "w::V"]);
    }

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let files = [
            ("src/lib.rs", "mod low;\npub(crate) mod middle;\npub mod high;\n"),
            ("src/middle.rs", "mod a;\npub(in crate::x) mod b;\n#[cfg(test)]\nmod tests;\n"),
        ];
        let files: Vec<_> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let house = House::new(Path::new("src"), files.iter().map(|(path, text)| (path, text)));
        house.imports_from_below(Path::new(path), text)
    }

    #[test]
    fn importing_from_below_is_found_with_its_line() {
        assert_eq!(found("src/middle.rs", "use crate::low::X; // crate::high\n"), []);
        let below = found("src/middle/a.rs", "\nuse crate::{low, high};\n");
        assert_eq!((below.len(), below[0].0), (1, 2));
        assert_eq!(found("src/middle/tests.rs", "use crate::high;\n"), []);
    }

    #[test]
    fn siblings_in_a_folder_are_found_by_either_way() {
        for import in ["use super::b::X;", "use crate::middle::{b};", "let x = super::b::x();"] {
            assert_eq!(found("src/middle/a.rs", import).len(), 1, "{import}");
            assert_eq!(found("src/middle/b.rs", &import.replace("b", "a")), [], "{import}");
        }
        assert_eq!(found("src/middle/a/deep.rs", "use super::super::b::X;").len(), 1);
        assert_eq!(found("src/middle/a.rs", "use super::X;\nuse super::a::Y;"), []);
        assert_eq!(found("src/middle.rs", "use self::b::X;\n"), [], "a parent knows its children");
        assert_eq!(found("src/middle/a.rs", "use super::tests::X;\n"), []);
    }
}
