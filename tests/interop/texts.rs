//! What both programs print of the same flows, compared to the character.
//!
//! Two pairs of daemons, ours and the original's, hear the same events on the same two nodes. Only numbers that depend
//! on when something happened are made the same; every other difference must be listed in `docs/deviations.toml`, and
//! what is listed must differ.

use crate::cell::stage;
use std::collections::BTreeSet;
use std::fs;
use tests::conf::{Conf, End};
use tests::conntrack::{allow_labels, catalogue_len, insert_catalogue};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::expect::{announce, data, irc};
use tests::solo::{Solo, solo};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

/// Commands that both answer, and whether their lines come in no order.
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

/// Commands that both answer in statistics mode, and whether their lines come in no order.
const STATISTICS_QUESTIONS: &[(&str, bool)] = &[
    ("-i", true),
    ("-i -x", true),
    ("-s", false),
    ("-s cache", false),
    ("-s runtime", false),
    ("-s process", false),
    ("-s ct", false),
    ("-s expect", false),
];

/// Commands that both answer about expectations, and whether their lines come in no order.
const EXPECT_QUESTIONS: &[(&str, bool)] = &[
    ("-i expect", true),
    ("-e expect", true),
    ("-i expect -x", true),
    ("-e expect -x", true),
    ("-s expect", false),
];

#[test]
fn what_is_printed_in_mode_notrack_is_the_same() {
    compare("NOTRACK", Conf::new);
}

#[test]
fn what_is_printed_without_internal_cache_is_the_same() {
    compare("NOTRACK without internal cache", |end| Conf::new(end).mode("DisableInternalCache on"));
}

#[test]
fn what_is_printed_in_mode_ftfw_is_the_same() {
    let stage = stage();
    let [mut ours, mut originals] = pairs(&stage, |end| Conf::new(end).ftfw());
    fill(&stage, &ours, &originals);
    let waiting = |daemon: &Daemon<'_>| daemon.ask(&["-s", "rsqueue"]).contains("object");
    wait_until("all is acknowledged", || !ours.iter().chain(&originals).any(waiting));
    ask_all("FTFW", QUESTIONS, &ours, &originals);
    // From here on there are no acknowledgements.
    ours[1].kill_hard();
    originals[1].kill_hard();
    Requests::open(&stage.a).create(&udp_flows(0..3));
    wait_until("flows wait", || waiting(&ours[0]) && waiting(&originals[0]));
    let ask = |daemon| answer("FTFW", daemon, "-s rsqueue", true);
    wait_equal("they are shown the same", || ask(&ours[0]), || ask(&originals[0]));
}

#[test]
fn what_is_printed_in_mode_alarm_is_the_same() {
    compare("ALARM", |end| Conf::new(end).alarm(1000, 3000));
}

#[test]
fn what_is_printed_in_statistics_mode_is_the_same() {
    let stage = Solo::new();
    allow_labels(&stage.node);
    let original = stage.start(Brand::Original, "original", &solo(""));
    let ours = stage.ours("ours", &solo(""));
    insert_catalogue(&stage.node);
    for daemon in [&ours, &original] {
        wait_until("it has all", || daemon.internal().len() == catalogue_len());
    }
    ask_all("statistics", STATISTICS_QUESTIONS, &[ours], &[original]);
}

#[test]
fn what_is_printed_of_expectations_is_the_same() {
    compare_expectations("NOTRACK, expectations");
}

fn compare(mode: &str, conf: impl Fn(End) -> Conf) {
    let stage = stage();
    let [ours, originals] = pairs(&stage, conf);
    fill(&stage, &ours, &originals);
    ask_all(mode, QUESTIONS, &ours, &originals);
}

fn fill(stage: &Stage, ours: &[Daemon<'_>; 2], originals: &[Daemon<'_>; 2]) {
    insert_catalogue(&stage.a);
    for [a, b] in [ours, originals] {
        wait_until("B has all", || b.external().len() == catalogue_len());
        wait_until("A has all", || a.internal().len() == catalogue_len());
    }
}

fn compare_expectations(mode: &str) {
    let stage = stage();
    let [ours, originals] = pairs(&stage, |end| Conf::new(end).option("ExpectationSync on"));
    let mut requests = Requests::open(&stage.a);
    requests.create(&[irc()]);
    requests.expect(&[data(5000), data(5001)]);
    announce(&stage.a, 5002);
    // A flow that ends before its beginning was sent is sent as an end alone, which is counted separately.
    let have = |count| {
        for [a, b] in [&ours, &originals] {
            wait_until("B has all", || b.external_expectations().len() == count);
            wait_until("A has all", || a.internal_expectations().len() == count);
        }
    };
    have(3);
    requests.unexpect(&[data(5000)]);
    have(2);
    ask_all(mode, EXPECT_QUESTIONS, &ours, &originals);
}

/// Ours, and the original's on another port: each on A and on B.
fn pairs<'a>(stage: &'a Stage, conf: impl Fn(End) -> Conf) -> [[Daemon<'a>; 2]; 2] {
    let pair = |brand, port, names: [&str; 2]| {
        let b = stage.start(brand, names[1], &conf(End::B).port(port));
        let a = stage.start(brand, names[0], &conf(End::A).port(port));
        [a, b]
    };
    [
        pair(Brand::Ours, 3780, ["our-a", "our-b"]),
        pair(Brand::Original, 3781, ["original-a", "original-b"]),
    ]
}

fn ask_all(mode: &str, questions: &[(&str, bool)], ours: &[Daemon<'_>], originals: &[Daemon<'_>]) {
    let mut found = BTreeSet::new();
    for (question, unordered) in questions {
        for (our, original) in ours.iter().zip(originals) {
            let our = answer(mode, our, question, *unordered);
            let original = answer(mode, original, question, *unordered);
            let differences = diff(&original, &our);
            found.extend(differences.into_iter().map(|line| format!("{question}: {line}")));
        }
    }
    judge(mode, &found);
}

/// What a daemon prints, with what must differ made the same.
fn answer(mode: &str, daemon: &Daemon<'_>, question: &str, unordered: bool) -> Vec<String> {
    let output = daemon.try_ask(&question.split(' ').collect::<Vec<_>>());
    let text = String::from_utf8(output.stdout).expect("answers are text");
    let mut lines: Vec<_> = text.lines().map(timeless).collect();
    if mode == "FTFW" {
        lines = lines.into_iter().filter_map(talk).collect();
    }
    if unordered {
        lines.sort();
    }
    lines
}

/// FTFW keeps talking: how many messages wait, which numbers they have, and whether acknowledgements are among them,
/// depends on when one looks.
fn talk(line: String) -> Option<String> {
    const QUEUES: &[&str] = &["resent queue (len=", "object -> seq:"];
    const ELEMENTS: &[&str] = &["current elements:", "allocated queue nodes:"];
    if line.trim_start().starts_with("control -> seq:") {
        None
    } else if let Some(start) = QUEUES.iter().find(|start| line.trim_start().starts_with(*start)) {
        let (head, tail) = line.split_once(start)?;
        let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        Some(format!("{head}{start}N{tail}"))
    } else if ELEMENTS.iter().any(|start| line.starts_with(start)) {
        Some(masked(&line))
    } else {
        Some(line)
    }
}

/// The line with every number that depends on when something happened replaced by `N`, of the same width.
fn timeless(line: &str) -> String {
    const LINK: &[&str] = &[" Bytes sent ", " Pckts sent ", "current buffer size"];
    const CLOCKS: &[(&str, &str)] =
        &[("[active since ", "s]"), ("[expires in ", "s]"), ("<timeout>", "</timeout>")];
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
