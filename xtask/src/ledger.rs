//! `docs/deviations.toml`: every test that it names must exist.

use crate::repo;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every `test = "..."` names tests, modules of tests or test files that are there.
pub(crate) fn check() -> Result<()> {
    let path = repo::root().join("docs/deviations.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let ledger: toml::Table = text.parse().context("docs/deviations.toml")?;
    let entries = ledger.get("deviation").and_then(toml::Value::as_array);
    let sources = Sources::read()?;
    let mut missing = Vec::new();
    for entry in entries.context("docs/deviations.toml lists no deviations")? {
        let field = |key| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        if field("test") != "none yet" {
            let absent = words(field("test")).into_iter().filter(|word| !sources.know(word));
            missing.extend(absent.map(|word| format!("{:?}: no test `{word}`", field("what"))));
        }
    }
    missing.iter().for_each(|line| println!("{line}"));
    if missing.is_empty() { Ok(()) } else { bail!("{} tests do not exist", missing.len()) }
}

/// The last name of each path: `tests: netns: control::a, ::b (remark)` gives `a` and `b`.
fn words(test: &str) -> Vec<&str> {
    let paths = test.split(',').map(|path| path.split('(').next().unwrap_or_default().trim());
    paths.filter_map(|path| path.rsplit([':', ' ']).next()).collect()
}

/// The names in the code of every Rust file, and the names of the files. Not all tests are functions: simulated worlds
/// stand in a table, matrices are made by macros.
struct Sources(BTreeSet<String>);

impl Sources {
    fn read() -> Result<Self> {
        let mut paths = Vec::new();
        for folder in ["tests", "userspace", "xtask", "common"] {
            collect(&repo::root().join(folder), &mut paths)?;
        }
        let mut names = BTreeSet::new();
        for path in paths {
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
            let words =
                code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
            names.extend(words.map(String::from));
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        Ok(Self(names))
    }

    fn know(&self, word: &str) -> bool {
        !word.is_empty() && self.0.contains(word)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, words};

    #[test]
    fn names_are_taken_out_of_what_stands_around_them() {
        let test = "tests: netns: daemon::one_thing, ::another (with a remark)";
        assert_eq!(words(test), ["one_thing", "another"]);
    }

    #[test]
    fn every_test_of_the_ledger_exists() {
        check().expect("the ledger names tests that exist");
    }
}
