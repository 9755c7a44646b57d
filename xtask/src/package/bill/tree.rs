//! The crates that are linked into a program, as `cargo tree` lists them.

use crate::{repo, shell};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// A version of a crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
}

/// What is known of a crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Linked {
    /// Its licence, as an SPDX expression.
    pub(super) licence: String,
    /// Whether the crate comes from this repository.
    pub(super) is_ours: bool,
    /// The crates that it calls.
    pub(super) needs: BTreeSet<Crate>,
}

impl Linked {
    /// Adds what the same crate is in another tree.
    pub(super) fn add(&mut self, other: Self) {
        self.licence = other.licence;
        self.is_ours = other.is_ours;
        self.needs.extend(other.needs);
    }
}

/// Each crate, and what it needs.
pub(super) type Crates = BTreeMap<Crate, Linked>;

/// The crates of package `root` and of all that it links when it is compiled for `target` with its default features.
///
/// cargo resolves features for that package alone, as `cargo build --package` does. Crates that only run while
/// something is compiled (macros, build scripts, tests) are not in the list. `without` names direct dependencies of
/// `root` that no program in question calls.
pub(super) fn linked(root: &str, target: &str, without: &[&str]) -> Result<Crates> {
    parse(&shell::output(&mut command(root, target))?, without).with_context(|| root.to_owned())
}

fn command(root: &str, target: &str) -> Command {
    let mut cargo = shell::cargo("tree");
    cargo.args(["--package", root, "--target", target, "--edges", "normal,no-proc-macro"]);
    cargo.args(["--prefix", "depth", "--no-dedupe", "--format", "|{p}|{l}", "--locked"]);
    cargo.current_dir(repo::root());
    cargo
}

/// Reads lines such as `2|anstyle v1.0.14|MIT OR Apache-2.0`: a crate needs those below it that are one deeper.
fn parse(text: &str, without: &[&str]) -> Result<Crates> {
    let mut tree = Crates::new();
    let mut above: Vec<Crate> = Vec::new();
    // The depth of the crate that is left out, while its dependencies follow.
    let mut left_out = None;
    for line in text.lines() {
        let Line { depth, one, linked } =
            Line::parse(line).with_context(|| format!("cargo tree: {line:?}"))?;
        if left_out.is_some_and(|at| depth > at) {
            continue;
        }
        left_out = (depth == 1 && without.contains(&one.name.as_str())).then_some(depth);
        if left_out.is_some() {
            continue;
        }
        ensure!(depth <= above.len(), "cargo tree: nothing is above {line:?}");
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| tree.get_mut(parent)) {
            parent.needs.insert(one.clone());
        }
        tree.entry(one.clone()).or_insert(linked);
        above.push(one);
    }
    ensure!(!tree.is_empty(), "cargo tree lists nothing");
    Ok(tree)
}

struct Line {
    depth: usize,
    one: Crate,
    linked: Linked,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (depth, rest) = line.split_once('|')?;
        let (package, licence) = rest.split_once('|')?;
        let mut words = package.split(' ');
        let name = words.next().filter(|name| !name.is_empty())?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        // The path of a crate in this repository follows its version.
        let is_ours = words.next().is_some();
        // Before 2018, a slash stood for OR.
        let licence = licence.replace(" / ", "/").replace('/', " OR ");
        let linked = Linked { licence, is_ours, needs: BTreeSet::new() };
        Some(Self { depth: depth.parse().ok()?, one: Crate { name, version }, linked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
0|ctflow-tools v0.1.0 (/src/userspace/tools)|MIT OR Apache-2.0
1|anyhow v1.0.104|MIT/Apache-2.0
1|ctflow-engine v0.1.0 (/src/userspace/engine)|MIT OR Apache-2.0
2|hashbrown v0.17.1|MIT OR Apache-2.0
3|allocator-api2 v0.2.21|MIT OR Apache-2.0
1|ratatui v0.30.2|MIT
2|kasuari v0.4.13|MIT OR Apache-2.0
3|hashbrown v0.17.1|MIT OR Apache-2.0
4|allocator-api2 v0.2.21|MIT OR Apache-2.0
2|thiserror v1.0.69|MIT OR Apache-2.0
1|thiserror v2.0.21|MIT OR Apache-2.0
";

    fn names(crates: impl IntoIterator<Item = Crate>) -> Vec<String> {
        crates.into_iter().map(|one| format!("{} {}", one.name, one.version)).collect()
    }

    fn needs(tree: &Crates, name: &str) -> Vec<String> {
        let found = tree.iter().find(|(one, _)| one.name == name);
        names(found.expect("it is listed").1.needs.clone())
    }

    #[test]
    fn each_version_is_listed_once_with_what_it_needs() {
        let tree = parse(SAMPLE, &[]).unwrap();
        let wanted = [
            "allocator-api2 0.2.21",
            "anyhow 1.0.104",
            "ctflow-engine 0.1.0",
            "ctflow-tools 0.1.0",
            "hashbrown 0.17.1",
            "kasuari 0.4.13",
            "ratatui 0.30.2",
            "thiserror 1.0.69",
            "thiserror 2.0.21",
        ];
        assert_eq!(names(tree.keys().cloned()), wanted);
        assert_eq!(needs(&tree, "ratatui"), ["kasuari 0.4.13", "thiserror 1.0.69"]);
        assert_eq!(needs(&tree, "hashbrown"), ["allocator-api2 0.2.21"]);
        let of_tools = ["anyhow 1.0.104", "ctflow-engine 0.1.0", "ratatui 0.30.2"];
        assert_eq!(needs(&tree, "ctflow-tools")[..3], of_tools);
        let ours = tree.iter().filter(|(_, linked)| linked.is_ours).map(|(one, _)| one.clone());
        assert_eq!(names(ours), ["ctflow-engine 0.1.0", "ctflow-tools 0.1.0"]);
        let anyhow = tree.iter().find(|(one, _)| one.name == "anyhow").unwrap();
        assert_eq!(anyhow.1.licence, "MIT OR Apache-2.0");
    }

    #[test]
    fn what_only_an_unused_dependency_needs_is_not_listed() {
        let tree = parse(SAMPLE, &["ratatui"]).unwrap();
        let wanted = [
            "allocator-api2 0.2.21",
            "anyhow 1.0.104",
            "ctflow-engine 0.1.0",
            "ctflow-tools 0.1.0",
            "hashbrown 0.17.1",
            "thiserror 2.0.21",
        ];
        assert_eq!(names(tree.keys().cloned()), wanted);
        // Only direct dependencies are left out: another crate may call the same one.
        assert_eq!(parse(SAMPLE, &["hashbrown"]).unwrap(), parse(SAMPLE, &[]).unwrap());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for bad in ["", "0|anyhow|MIT", "x|anyhow v1|MIT", "0|anyhow v1", "1|anyhow v1|MIT"] {
            assert!(parse(bad, &[]).is_err(), "{bad:?}");
        }
    }
}
