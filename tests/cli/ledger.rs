//! The differences that are meant: `commands` (of `conntrack`) and `nfct` of the entries of `docs/deviations.toml`, each a
//! list of what differs (`exit`, `stdout`, `stderr`, `table`) and a pattern of command lines: `stdout, stderr: -L -o json*`.
//!
//! What is listed differs, and nothing else does. How it differs is recorded in `cli/differences.txt` (`record.rs`).
//! `stdout?` is what Debian's program does differently from run to run: it may be equal, and ours is recorded alone.
//! `stdout*` is different in every line, and is not recorded. `@flows ` in front of the pattern: where that is the table.

use std::fs;

/// An entry that is about command lines.
#[derive(Debug)]
pub(crate) struct Deviation {
    /// Command lines it is about.
    pub(crate) kinds: Vec<Kind>,
}

/// Command lines that differ on purpose, and what differs.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The line of the ledger.
    pub(crate) text: String,
    aspects: Vec<Aspect>,
    /// The table it is about, if not about all.
    table: Option<String>,
    pattern: String,
}

/// An aspect in which the outputs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aspect {
    /// `exit`, `stdout`, `stderr` or `table`.
    pub(crate) name: String,
    /// Debian's is not the same in each run.
    pub(crate) varies: bool,
    /// How it differs is not recorded.
    pub(crate) is_whole: bool,
}

impl Kind {
    /// Whether it is about a command line.
    pub(crate) fn fits(&self, line: &str, table: &str) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table) && fits(&self.pattern, line)
    }

    /// Whether a command line that it is about differs in these as it says.
    pub(crate) fn expects(&self, differs: &[&str]) -> bool {
        let listed = |name: &str| self.aspects.iter().any(|aspect| aspect.name == name);
        differs.iter().all(|name| listed(name))
            && self.aspects.iter().all(|a| a.varies || differs.contains(&a.name.as_str()))
    }

    /// The table it is about, if not about all.
    pub(crate) fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The aspects that differ.
    pub(crate) fn aspects(&self) -> &[Aspect] {
        &self.aspects
    }
}

/// All of a program: `key` is `commands` or `nfct`.
pub(crate) fn read(key: &str) -> Vec<Deviation> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deviations.toml");
    let text = fs::read_to_string(path).expect("the ledger is there");
    let ledger: toml::Table = text.parse().expect("the ledger is TOML");
    let entries = ledger["deviation"].as_array().expect("a list of deviations");
    let commands = |entry: &toml::Value| -> Vec<Kind> {
        let list = entry.get(key).and_then(toml::Value::as_array);
        list.into_iter().flatten().filter_map(toml::Value::as_str).map(kind).collect()
    };
    let entry = |entry: &toml::Value| Deviation { kinds: commands(entry) };
    entries.iter().map(entry).filter(|entry| !entry.kinds.is_empty()).collect()
}

fn kind(text: &str) -> Kind {
    let (aspects, pattern) = text.split_once(": ").expect("`ASPECTS: PATTERN`");
    let aspect = |word: &str| Aspect {
        name: word.trim_end_matches(['?', '*']).to_owned(),
        varies: word.ends_with('?'),
        is_whole: word.ends_with('*'),
    };
    let aspects = aspects.split(", ").map(aspect).collect();
    let named = pattern.strip_prefix('@').and_then(|rest| rest.split_once(' '));
    let (table, pattern) = named.map_or((None, pattern), |(table, rest)| (Some(table), rest));
    let (table, pattern) = (table.map(str::to_owned), pattern.to_owned());
    Kind { text: text.to_owned(), aspects, table, pattern }
}

/// A `*` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn patterns() {
    assert!(fits("-L*", "-L -o xml"));
    assert!(fits("-L*xml", "-L -o xml"));
    assert!(fits("*-o*", "-L -o xml"));
    assert!(!fits("-L", "-L -o xml"));
    assert!(!fits("-L*save*", "-L -o xml"));
}

#[test]
fn what_is_listed_differs_and_nothing_else() {
    let known = kind("stdout, exit: -G *");
    assert!(known.fits("-G -p tcp", "flows") && known.expects(&["exit", "stdout"]));
    assert!(!known.expects(&["stdout"]) && !known.expects(&["exit", "stdout", "stderr"]));
    let known = kind("stdout: @flows -G *");
    assert!(known.fits("-G -p tcp", "flows") && !known.fits("-G -p tcp", "empty"));
    let known = kind("stdout?, exit*: -G *");
    assert!(known.expects(&["exit"]) && known.expects(&["exit", "stdout"]));
    assert!(!known.expects(&["stdout"]) && known.aspects()[1].is_whole);
}
