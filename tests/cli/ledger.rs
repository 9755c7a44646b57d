//! The differences that are meant: `commands` of the entries of `docs/deviations.toml`, each a list of what differs
//! (`exit`, `stdout`, `stderr`, `table`) and a pattern of command lines: `stdout, stderr: -L -o json*`.

use std::fs;

/// An entry that is about command lines.
#[derive(Debug)]
pub(crate) struct Deviation {
    /// What it says it is about.
    pub(crate) what: String,
    kinds: Vec<Kind>,
}

/// Command lines that differ on purpose, and what differs.
#[derive(Debug)]
struct Kind {
    aspects: Vec<String>,
    pattern: String,
}

impl Deviation {
    /// Whether this command line may differ in these.
    pub(crate) fn covers(&self, line: &str, aspects: &[&str]) -> bool {
        self.kinds.iter().any(|kind| kind.covers(line, aspects))
    }
}

impl Kind {
    fn covers(&self, line: &str, aspects: &[&str]) -> bool {
        aspects.iter().all(|aspect| self.aspects.iter().any(|a| a == aspect))
            && fits(&self.pattern, line)
    }
}

/// All of them.
pub(crate) fn read() -> Vec<Deviation> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deviations.toml");
    let text = fs::read_to_string(path).expect("the ledger is there");
    let ledger: toml::Table = text.parse().expect("the ledger is TOML");
    let entries = ledger["deviation"].as_array().expect("a list of deviations");
    let commands = |entry: &toml::Value| -> Vec<Kind> {
        let list = entry.get("commands").and_then(toml::Value::as_array);
        list.into_iter().flatten().filter_map(toml::Value::as_str).map(kind).collect()
    };
    let entry = |entry: &toml::Value| Deviation {
        what: entry["what"].as_str().unwrap_or_default().to_owned(),
        kinds: commands(entry),
    };
    entries.iter().map(entry).filter(|entry| !entry.kinds.is_empty()).collect()
}

fn kind(text: &str) -> Kind {
    let (aspects, pattern) = text.split_once(": ").expect("`ASPECTS: PATTERN`");
    let aspects = aspects.split(", ").map(str::to_owned).collect();
    Kind { aspects, pattern: pattern.to_owned() }
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
    let known = kind("stdout, exit: -G *");
    assert!(known.covers("-G -p tcp", &["stdout"]));
    assert!(!known.covers("-G -p tcp", &["stdout", "stderr"]));
}
