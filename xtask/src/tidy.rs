//! `cargo xtask tidy`: house rules that a compiler does not know.

use crate::repo;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Check the house rules that rustc and clippy do not know.
///
/// Lines of at most 120 columns (rustfmt keeps code within 100; this bounds comments and text), files of at most 600
/// lines, tests and generated files aside; and in each crate root the order of `mod` lines: a module imports only from
/// modules declared above it.
#[derive(clap::Args)]
pub(crate) struct Options {}

const COLUMNS: usize = 120;
const LINES: usize = 600;

pub(crate) fn run(_: &Options) -> Result<()> {
    check()
}

/// Every rule over every Rust file.
pub(crate) fn check() -> Result<()> {
    let mut files = Vec::new();
    collect(repo::root(), &mut files)?;
    let mut findings = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let name = path.strip_prefix(repo::root()).unwrap_or(path).display().to_string();
        findings.extend(sizes(&name, &text));
        if let Some(house) = House::of(path)? {
            let order = house.imports_from_below(path, &text).into_iter();
            findings.extend(order.map(|(line, what)| format!("{name}:{line}: {what}")));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} house rules broken"),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path);
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

/// The modules of a crate in the order of its root.
struct House {
    source: PathBuf,
    modules: Vec<String>,
}

impl House {
    /// The crate that a file under a `src` belongs to.
    fn of(path: &Path) -> Result<Option<Self>> {
        let Some(source) = path.ancestors().find(|folder| folder.ends_with("src")) else {
            return Ok(None);
        };
        let mut roots = ["lib.rs", "main.rs"].iter().map(|root| source.join(root));
        let Some(root) = roots.find(|root| root.is_file()) else { return Ok(None) };
        let text = fs::read_to_string(&root).with_context(|| format!("{}", root.display()))?;
        let modules = code(&text).filter_map(|(_, line)| declared(line)).map(String::from);
        Ok(Some(Self { source: source.to_owned(), modules: modules.collect() }))
    }

    /// Where a file imports from a module that stands below its own.
    fn imports_from_below(&self, path: &Path, text: &str) -> Vec<(usize, String)> {
        let inside = path.strip_prefix(&self.source).unwrap_or(path);
        let first = inside.iter().next().map(Path::new).and_then(Path::file_stem);
        let first = first.map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let Some(own) = self.modules.iter().position(|module| *module == first) else {
            return Vec::new();
        };
        if is_test(inside) {
            return Vec::new();
        }
        let text: String = code(text).map(|(_, line)| without_comment(line) + "\n").collect();
        let below = |name: &str| self.modules[own + 1..].iter().any(|module| module == name);
        let imports = imported(&text).into_iter().filter(|(_, name)| below(name));
        let found = imports.map(|(at, name)| {
            let line = text[..at].matches('\n').count() + 1;
            (line, format!("`{first}` imports from `{name}`, which is declared below it"))
        });
        found.collect()
    }
}

/// The module that a line of a crate root declares.
fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    rest.strip_prefix("mod ")?.strip_suffix(';')
}

fn without_comment(line: &str) -> String {
    line.split_once("//").map_or(line, |(code, _)| code).to_owned()
}

/// The first names after `crate::`, braces included, and where they stand.
fn imported(text: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for (at, prefix) in text.match_indices("crate::") {
        let start = at + prefix.len();
        if text[..at].ends_with('$') {
            continue;
        }
        match text[start..].strip_prefix('{') {
            Some(list) => names.extend(list_heads(list).into_iter().map(|name| (at, name))),
            None => names.push((at, identifier(&text[start..]))),
        }
    }
    names
}

/// `a, b::{c, d}, e}` gives a, b and e.
fn list_heads(list: &str) -> Vec<&str> {
    let (mut depth, mut head, mut heads) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => head = true,
            _ if head && !c.is_whitespace() => {
                heads.push(identifier(&list[at..]));
                head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::{House, imported};
    use std::path::Path;

    #[test]
    fn every_way_to_import_is_seen() {
        let text = "use crate::a::X;\nuse crate::{b, c::{d, e}, f::g};\nlet x = crate::h::i();\n";
        let names: Vec<_> = imported(text).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "b", "c", "f", "h"]);
    }

    #[test]
    fn importing_from_below_is_found_with_its_line() {
        let modules = ["low", "middle", "high"].map(String::from).to_vec();
        let house = House { source: "src".into(), modules };
        let check = |path: &str, text: &str| house.imports_from_below(Path::new(path), text);
        assert!(check("src/middle.rs", "use crate::low::X; // crate::high\n").is_empty());
        let found = check("src/middle/child.rs", "\nuse crate::{low, high};\n");
        assert_eq!((found.len(), found[0].0), (1, 2));
        assert!(check("src/middle/tests.rs", "use crate::high;\n").is_empty());
    }
}
