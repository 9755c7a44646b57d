//! What both programs print of the same flows, compared to the character.
//!
//! Two pairs of daemons, ours and the original's, hear the same events on the same two nodes. Only numbers that depend
//! on when something happened are made the same; every other difference must be listed in `docs/deviations.toml`, and
//! what is listed must differ.

use crate::cell::stage;
use std::collections::BTreeSet;
use std::fs;
use tests::conf::{Conf, End};
use tests::conntrack::{catalogue_len, insert_catalogue};
use tests::daemon::{Brand, Daemon};
use tests::wait::wait_until;

/// What is asked of both, and whether its lines come in no order.
const QUESTIONS: &[(&str, bool)] = &[
    ("-i", true),
    ("-e", true),
    ("-i -x", true),
    ("-e -x", true),
    ("-s", false),
    ("-s network", false),
    ("-s cache", false),
    ("-s runtime", false),
    ("-s link", false),
    ("-s queue", false),
    ("-s rsqueue", false),
    ("-s process", false),
    ("-s ct", false),
    ("-s expect", false),
    ("-i expect", true),
    ("-e expect", true),
];

#[test]
fn what_is_printed_in_mode_notrack_is_the_same() {
    compare("NOTRACK", &[]);
}

#[test]
fn what_is_printed_without_internal_cache_is_the_same() {
    compare("NOTRACK without internal cache", &["DisableInternalCache on"]);
}

fn compare(mode: &str, lines: &[&str]) {
    let stage = stage();
    let conf =
        |end, port| lines.iter().fold(Conf::new(end).port(port), |conf, line| conf.mode(line));
    let pair = |brand, port, names: [&str; 2]| {
        let b = stage.start(brand, names[1], &conf(End::B, port));
        let a = stage.start(brand, names[0], &conf(End::A, port));
        [a, b]
    };
    let ours = pair(Brand::Ours, 3780, ["our-a", "our-b"]);
    let originals = pair(Brand::Original, 3781, ["original-a", "original-b"]);
    insert_catalogue(&stage.a);
    for [a, b] in [&ours, &originals] {
        wait_until("B has all", || b.external().len() == catalogue_len());
        wait_until("A has all", || a.internal().len() == catalogue_len());
    }
    let mut found = BTreeSet::new();
    for (question, unordered) in QUESTIONS {
        for (our, original) in ours.iter().zip(&originals) {
            let our = answer(our, question, *unordered);
            let original = answer(original, question, *unordered);
            let differences = diff(&original, &our);
            found.extend(differences.into_iter().map(|line| format!("{question}: {line}")));
        }
    }
    judge(mode, &found);
}

/// What a daemon prints, with what must differ made the same.
fn answer(daemon: &Daemon<'_>, question: &str, unordered: bool) -> Vec<String> {
    let output = daemon.try_ask(&question.split(' ').collect::<Vec<_>>());
    let text = String::from_utf8(output.stdout).expect("answers are text");
    let mut lines: Vec<_> = text.lines().map(timeless).collect();
    if unordered {
        lines.sort();
    }
    lines
}

/// The line with every number that depends on when something happened replaced by `N`, of the same width.
fn timeless(line: &str) -> String {
    const LINK: &[&str] = &[" Bytes sent ", " Pckts sent ", "current buffer size"];
    const CLOCKS: &[(&str, &str)] = &[("[active since ", "s]"), ("<timeout>", "</timeout>")];
    if LINK.iter().any(|words| line.contains(words)) {
        return masked(line);
    }
    let mut line = line.to_owned();
    for (before, after) in CLOCKS {
        let Some(start) = line.find(before).map(|at| at + before.len()) else { continue };
        let Some(len) = line[start..].find(after) else { continue };
        line.replace_range(start..start + len, "N");
    }
    lifetime(line)
}

/// `udp      17 2999 src=`: the third word of a line with a lifetime.
fn lifetime(line: String) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.as_slice() {
        [_, _, third, ..] if third.starts_with("29") && third.len() == 4 => {
            line.replacen(third, "N", 1)
        }
        _ => line,
    }
}

/// Digits and the blanks before them: a column is as wide whatever stands in it.
fn masked(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let len = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        let blanks = rest[..at].len() - rest[..at].trim_end_matches(' ').len();
        out += &rest[..at - blanks];
        out += &"N".repeat(blanks + len);
        rest = &rest[at + len..];
    }
    out + rest
}

/// Lines that only one has: `- ` the original's, `+ ` ours.
fn diff(original: &[String], ours: &[String]) -> Vec<String> {
    let (n, m) = (original.len(), ours.len());
    // Longest common subsequence, from the ends to the beginnings.
    let mut common = vec![vec![0_usize; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = match original[i] == ours[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < n || j < m {
        if i < n && j < m && original[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == m || (i < n && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", original[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", ours[j]));
            j += 1;
        }
    }
    out
}

/// Every difference must be listed, and everything listed must differ.
fn judge(mode: &str, found: &BTreeSet<String>) {
    let listed = listed(mode);
    let unlisted: Vec<_> =
        found.iter().filter(|line| !listed.iter().any(|p| fits(p, line))).collect();
    assert!(
        unlisted.is_empty(),
        "differences that docs/deviations.toml does not list: {unlisted:#?}"
    );
    let idle: Vec<_> = listed.iter().filter(|p| !found.iter().any(|line| fits(p, line))).collect();
    assert!(idle.is_empty(), "docs/deviations.toml lists what does not differ: {idle:#?}");
}

/// The patterns of `docs/deviations.toml` for this mode; a `*` stands for anything.
fn listed(mode: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deviations.toml");
    let text = fs::read_to_string(path).expect("the ledger is there");
    let ledger: toml::Table = text.parse().expect("the ledger is TOML");
    let entries = ledger["deviation"].as_array().expect("a list of deviations");
    let texts = |entry: &toml::Value, key: &str| -> Vec<String> {
        let list = entry.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let of_mode = |entry: &&toml::Value| texts(entry, "modes").iter().any(|name| name == mode);
    entries.iter().filter(of_mode).flat_map(|entry| texts(entry, "lines")).collect()
}

fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    rest.is_empty() || open
}
