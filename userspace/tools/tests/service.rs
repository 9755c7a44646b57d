//! The units in `contrib`, as systemd's own tool judges them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tenths of a point that `systemd-analyze security` may give at most.
const THRESHOLD: &str = "35";

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib")
}

/// Runs `systemd-analyze`; `None`, with a word, where there is none.
fn analyze(args: &[&str]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(args).output();
    if output.is_err() {
        println!("skipped: there is no systemd-analyze here");
    }
    output.ok()
}

/// The findings of `systemd-analyze` about a unit, and whether it is content.
fn exposure(unit: &Path) -> Option<(String, bool)> {
    let threshold = format!("--threshold={THRESHOLD}");
    let unit = unit.to_str().expect("text");
    let output = analyze(&["security", "--offline=true", "--no-pager", &threshold, unit])?;
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

/// The score in its last line, tenths.
fn score(said: &str) -> u32 {
    let words = said.lines().next_back().expect("it says something").split_whitespace();
    let number = words.filter_map(|word| word.parse::<f64>().ok()).next_back();
    (number.unwrap_or_else(|| panic!("no score: {said}")) * 10.0).round() as u32
}

#[test]
fn the_unit_exposes_little_and_less_with_the_drop_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let unit = dir.path().join("conntrackd.service");
    fs::copy(contrib().join("conntrackd.service"), &unit).expect("there is one");
    let Some((said, content)) = exposure(&unit) else { return };
    assert!(content && score(&said) <= 32, "{said}");
    let drop_ins = dir.path().join("conntrackd.service.d");
    fs::create_dir(&drop_ins).expect("it is new");
    let drop_in = contrib().join("systemd/unprivileged.conf");
    fs::copy(drop_in, drop_ins.join("unprivileged.conf")).expect("there is one");
    let (said, content) = exposure(&unit).expect("it ran before");
    assert!(content && score(&said) <= 22, "{said}");
}

#[test]
fn systemd_knows_every_line_of_the_unit() {
    let unit = contrib().join("conntrackd.service");
    let Some(output) = analyze(&["verify", unit.to_str().expect("text")]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    // Warnings of systemd before 253, and about programs that are not installed where this runs.
    let expected = ["notify-reload", "is not executable", "Man page"];
    let of_ours = said.lines().filter(|line| line.contains("conntrackd"));
    let left: Vec<_> =
        of_ours.filter(|line| !expected.iter().any(|words| line.contains(words))).collect();
    assert!(left.is_empty(), "{left:?}");
}
