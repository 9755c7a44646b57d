//! What two runs of one program differ in is taken out of texts: ids, moments, versions, the order of lists, and, within
//! limits, numbers that count seconds.

use std::fmt;

/// How far seconds may be apart. Tables are prepared with lifetimes much longer than this.
const TOLERANCE_S: u64 = 5;

/// Numbers behind these count seconds.
const SECONDS: [&str; 6] =
    ["-t ", "<timeout>", "delta-time=", "<deltatime>", "\"timeout\":", "\"deltatime\":"];

/// What is behind these, up to the mark, is left out.
const HIDDEN: [(&str, char); 16] = [
    ("portid=", ' '),
    ("<id>", '<'),
    ("\"id\":", ','),
    ("[start=", ']'),
    ("[stop=", ']'),
    ("<start>", '<'),
    ("<stop>", '<'),
    ("conntrack v", ' '),
    ("nfct v", ':'),
    // The count of references to the flow at that moment.
    (" use=", ' '),
    ("<use>", '<'),
    ("\"use\":", ','),
    ("\"portid\":", ','),
    ("\"time_ns\":", ','),
    ("\"start_ns\":", ','),
    ("\"stop_ns\":", ','),
];

/// A line without what may differ, and its seconds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Masked {
    /// The line; seconds are `_`.
    pub(crate) text: String,
    seconds: Vec<u64>,
}

impl Masked {
    /// Whether two lines say the same.
    pub(crate) fn like(&self, other: &Self) -> bool {
        self.text == other.text
            && self.seconds.len() == other.seconds.len()
            && self.seconds.iter().zip(&other.seconds).all(|(l, r)| l.abs_diff(*r) <= TOLERANCE_S)
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        if self.seconds.is_empty() { Ok(()) } else { write!(f, " {:?} s", self.seconds) }
    }
}

/// Whether two outputs say the same.
pub(crate) fn same(left: &str, right: &str) -> bool {
    let (left, right) = (masked(left), masked(right));
    left.len() == right.len() && left.iter().zip(&right).all(|(l, r)| l.like(r))
}

/// The lines of an output, those of lists sorted.
pub(crate) fn masked(text: &str) -> Vec<Masked> {
    let mut lines: Vec<_> = text.split('\n').map(mask).collect();
    if lines.iter().any(|line| is_entry(&line.text)) {
        lines.sort();
    }
    lines
}

fn is_entry(line: &str) -> bool {
    ["src=", "-s ", "<src>", "\"src\"", "Flow {"].iter().any(|sign| line.contains(sign))
}

fn mask(line: &str) -> Masked {
    let mut text = line.to_owned();
    let mut seconds = Vec::new();
    for (sign, end) in HIDDEN {
        text = replaced(&text, sign, |rest| {
            rest.find([end, '}', ']', '<', '\n']).or(Some(rest.len()))
        });
    }
    text = without_stamp(&text);
    if text.starts_with("cpu=") && text.contains('\t') {
        // The share of each processor is chance.
        text = replaced(&text, "=", digits);
    }
    // The original looks for the program in /proc, where it may have gone by then.
    if let Some(at) = text.find(" progname=") {
        text.truncate(at);
    }
    text = between(&text, "<when>", "</when>").replace("\"progname\":\"conntrack\",", "");
    // The last entry of a JSON array is chance.
    if text.starts_with('{') {
        text.truncate(text.trim_end_matches(',').len());
    }
    text = replaced(&text, " id=", |rest| digits(rest).filter(|len| *len > 5));
    for sign in SECONDS {
        text = replaced(&text, sign, |rest| {
            let len = digits(rest)?;
            seconds.extend(rest[..len].parse::<u64>());
            Some(len)
        });
    }
    lifetime(&mut text, &mut seconds);
    Masked { text, seconds }
}

/// Replaces by `_` as much behind each `sign` as `len` says.
fn replaced(text: &str, sign: &str, mut len: impl FnMut(&str) -> Option<usize>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(sign) {
        let (before, after) = rest.split_at(at + sign.len());
        out.push_str(before);
        rest = after;
        if let Some(len) = len(after).filter(|len| *len > 0) {
            out.push('_');
            rest = &after[len..];
        }
    }
    out + rest
}

/// How many digits a text begins with, if any.
fn digits(text: &str) -> Option<usize> {
    let len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (len > 0).then_some(len)
}

/// `[1795453073.075658]` in front.
fn without_stamp(text: &str) -> String {
    match text.split_once("]\t") {
        Some((stamp, rest)) if stamp.starts_with('[') => format!("[_]\t{rest}"),
        _ => text.to_owned(),
    }
}

fn between(text: &str, begin: &str, end: &str) -> String {
    match (text.find(begin), text.find(end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}", &text[..from + begin.len()], &text[to..])
        }
        _ => text.to_owned(),
    }
}

/// The third word of `tcp 6 299 ESTABLISHED src=`, the first of `299 proto=6 src=`.
fn lifetime(text: &mut String, seconds: &mut Vec<u64>) {
    let mut words: Vec<&str> = text.split(' ').collect();
    let number = |word: &&str| word.parse::<u64>().ok();
    let Some(end) = words.iter().position(|w| w.starts_with("src=") || w.starts_with("proto="))
    else {
        return;
    };
    let numeric = |at: Option<usize>| at.and_then(|at| words.get(at)).and_then(number).is_some();
    let expectation = words[end].starts_with("proto=");
    let stated = end > 0 && !numeric(Some(end - 1));
    let Some(at) = end.checked_sub(1 + usize::from(stated && !expectation)) else { return };
    let is_lifetime = expectation || numeric(at.checked_sub(1));
    if let Some(value) = words.get(at).and_then(number).filter(|_| is_lifetime) {
        seconds.push(value);
        words[at] = "_";
        *text = words.join(" ");
    }
}

#[test]
fn seconds_may_be_apart_a_little_and_other_numbers_not() {
    let line = |timeout, mark| {
        format!("tcp      6 {timeout} ESTABLISHED src=1.1.1.1 mark={mark} delta-time=1 use=1\n")
    };
    assert!(same(&line(299, 5), &line(297, 5)));
    assert!(!same(&line(299, 5), &line(199, 5)));
    assert!(!same(&line(299, 5), &line(299, 6)));
    assert!(same("udp      17 99 src=::1 id=123456\n", "udp      17 98 src=::1 id=1234567\n"));
    assert!(!same("icmp     1 99 src=::1 id=1\n", "icmp     1 99 src=::1 id=2\n"));
    assert!(!same("udp      17 src=::1\n", "udp      18 src=::1\n"));
    assert!(same("a src=1\nb src=2\n", "b src=2\na src=1\n"));
    assert!(!same("a\nb\n", "b\na\n"));
    assert!(same("conntrack v1.4.7 (x): y", "conntrack v1.4.9 (x): y"));
}
