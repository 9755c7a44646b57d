//! All command lines, one after the other.

use crate::ledger;
use crate::script::{self, Line};
use crate::twins::Twins;
use std::fs;

#[test]
fn command_lines_do_what_debians_conntrack_does() {
    let twins = Twins::new();
    let known = ledger::read();
    let only = std::env::var("CTFLOW_CLI").unwrap_or_default();
    let lines: Vec<Line> = scripts().into_iter().filter(|l| l.text.contains(&only)).collect();
    let (mut equal, mut meant, mut unlisted) = (0, vec![false; known.len()], Vec::new());
    let mut dirty = false;
    for line in &lines {
        let reset = line.reset || dirty || !only.is_empty();
        if reset {
            twins.prepare(&line.table);
        }
        let pair = twins.run(line);
        let differs = pair.differs();
        dirty = differs.contains(&"table");
        let entry = known.iter().position(|entry| entry.covers(&line.text, &differs));
        match entry {
            _ if differs.is_empty() => equal += 1,
            Some(at) => meant[at] = true,
            None => unlisted.push(format!(
                "{}: conntrack {}\n{}",
                line.place,
                line.text,
                pair.shown(&differs)
            )),
        }
    }
    let deliberate = lines.len() - equal - unlisted.len();
    println!(
        "cli: {} command lines, {equal} equal, {deliberate} deliberate differences",
        lines.len()
    );
    let idle = known.iter().zip(&meant).filter(|(_, met)| !**met && only.is_empty());
    let idle: Vec<_> = idle.map(|(entry, _)| &entry.what).collect();
    let count = unlisted.len();
    assert!(
        unlisted.is_empty() && idle.is_empty(),
        "{count} differences are not listed:\n{}\ndocs/deviations.toml lists what does not differ: {idle:#?}",
        unlisted.join("\n")
    );
}

/// The files of `lines/`, in the order of their names.
fn scripts() -> Vec<Line> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/lines");
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).expect("a text");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        script::read(&name, &text)
    };
    paths.iter().flat_map(read).collect()
}
