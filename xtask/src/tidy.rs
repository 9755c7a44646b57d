//! `cargo xtask tidy`: house rules that a compiler does not know.

mod names;
mod order;
mod queues;
mod words;

use crate::repo;
use anyhow::{Context as _, Result, bail};
use order::House;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Check the house rules that rustc and clippy do not know.
///
/// - Lines of at most 120 columns (rustfmt keeps code within 100; this bounds comments and text), files of at most 600
///   lines, functions of at most 70, tests and generated files aside.
/// - In each crate root and each module with children, a module imports only from siblings declared above it.
/// - No queue without a limit and a counter.
/// - No type name with three meanings in the libraries.
/// - Comments name who does what: a few words that hide it are refused.
#[derive(clap::Args)]
pub(crate) struct Options {}

const COLUMNS: usize = 120;
const LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

pub(crate) fn run(_: &Options) -> Result<()> {
    check()
}

/// Every rule over every Rust file.
pub(crate) fn check() -> Result<()> {
    let mut files = BTreeMap::new();
    collect(repo::root(), &mut files)?;
    let mut findings = Vec::new();
    let houses = houses(&files);
    for (path, text) in &files {
        let name = name_of(path);
        findings.extend(sizes(&name, text));
        findings.extend(functions(&name, text));
        findings.extend(queues::unbounded(&name, text));
        findings.extend(words::hiding(&name, text));
        if let Some(house) = source_of(path).and_then(|source| houses.get(source)) {
            let order = house.imports_from_below(path, text).into_iter();
            findings.extend(order.map(|(line, what)| format!("{name}:{line}: {what}")));
        }
    }
    findings
        .extend(names::ambiguous(files.iter().map(|(path, text)| (name_of(path), text.as_str()))));
    findings.extend(queues::idle(|file| files.get(&repo::root().join(file)).cloned()));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} house rules broken"),
    }
}

/// A path as it stands in findings, from the root of the repository.
fn name_of(path: &Path) -> String {
    path.strip_prefix(repo::root()).unwrap_or(path).display().to_string()
}

/// The `src` that a file is under.
fn source_of(path: &Path) -> Option<&Path> {
    path.ancestors().find(|folder| folder.ends_with("src"))
}

/// The crates of these files, by their `src`.
fn houses(files: &BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, House> {
    let sources: BTreeSet<_> = files.keys().filter_map(|path| source_of(path)).collect();
    let house = |source: &Path| {
        House::new(source, files.iter().filter(|(path, _)| path.starts_with(source)))
    };
    sources.into_iter().map(|source| (source.to_owned(), house(source))).collect()
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            files.insert(path, text);
        }
    }
    Ok(())
}

fn sizes(name: &str, text: &str) -> Vec<String> {
    if is_test(Path::new(name)) || text.starts_with("// @generated") {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
    let mut findings: Vec<_> =
        long.map(|(at, _)| format!("{name}:{}: more than {COLUMNS} columns", at + 1)).collect();
    let count = code(text).count();
    if count > LINES {
        findings.push(format!("{name}: {count} lines without tests, more than {LINES}"));
    }
    findings
}

/// The functions that are too long, from the line with `fn` to the brace that ends them.
fn functions(name: &str, text: &str) -> Vec<String> {
    if is_test(Path::new(name)) || text.starts_with("// @generated") {
        return Vec::new();
    }
    let lines: Vec<_> = code(text).map(|(_, line)| line).collect();
    let long = lines.iter().enumerate().filter_map(|(at, line)| {
        let function = line.split_once("fn ")?.1.split(['(', '<']).next()?;
        let indent = line.len() - line.trim_start().len();
        let is_one = line.ends_with(['{', '(']) && !line.trim_start().starts_with("//");
        let is_end = |line: &&str| line.trim() == "}" && line.len() == indent + 1;
        let len = 1 + lines[at..].iter().position(is_end).filter(|_| is_one)?;
        (len > FUNCTION_LINES).then(|| (at + 1, function, len))
    });
    long.map(|(at, function, len)| {
        format!("{name}:{at}: `{function}` has {len} lines, more than {FUNCTION_LINES}")
    })
    .collect()
}

/// The lines before a file's own tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<_> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    lines.into_iter().enumerate().take(end)
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests") || path.file_name().is_some_and(|n| n == "tests.rs")
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::functions;

    #[test]
    fn long_functions_are_found_and_their_neighbours_are_not() {
        let of = |lines: usize| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
        let text =
            |long: usize| of(3) + &of(long) + "fn one() -> u8 { 1 }\ntrait T {\n    fn g();\n}\n";
        assert!(functions("a.rs", &text(70)).is_empty());
        assert_eq!(functions("a.rs", &text(71)), ["a.rs:4: `f` has 71 lines, more than 70"]);
        assert!(functions("tests.rs", &text(71)).is_empty());
    }
}
