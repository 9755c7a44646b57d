//! Both streams in one pipe or on one terminal, as in `conntrack -D 2>&1 | head -n1`: what comes first there comes first
//! here. All flows of `tables/many.txt` are of one length, so that every byte has its place.

use crate::side::Side;
use crate::twins::Twins;

/// More than two blocks of 4 KiB, less than one, and nothing.
const LINES: [&str; 24] = [
    "-L",
    "-L -o extended",
    "-L -o save",
    "-L -o xml",
    "-L -p udp --sport 107",
    "-L -p udp --sport 107 -o xml",
    "-L -p tcp",
    "-L -p tcp -o xml",
    "-L expect",
    "-L -p foo",
    "-G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 107 --dport 200",
    "-G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 99 --dport 200",
    "-I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 107 --dport 200 -t 100",
    "-C",
    "-S",
    "-V",
    "-U -f ipv4 -p udp --sport 107 -m 5",
    "-U -f ipv4 -p udp --sport 107 -m 5",
    "-D -p udp --sport 107",
    "-D -p udp --sport 107",
    "-D -p udp --sport 108 -o xml",
    "-R - << -D -p udp --sport 109 | -D -p udp --sport 110 | -I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 111 --dport 200 -t 9",
    "-D",
    "-F",
];

#[test]
fn a_pipe_gets_both_streams_in_the_order_of_the_original() {
    let twins = Twins::new();
    twins.prepare("many");
    for line in LINES {
        let [ours, theirs] =
            [&twins.ours, &twins.theirs].map(|side| without_digits(&merged(side, line)));
        assert_eq!(ours, theirs, "{line}");
    }
}

/// There, every line comes when it is written.
#[test]
fn a_terminal_gets_both_streams_in_the_order_of_the_original() {
    let twins = Twins::new();
    twins.prepare("many");
    for line in LINES.iter().filter(|line| !line.contains("<<")) {
        let [ours, theirs] = [&twins.ours, &twins.theirs]
            .map(|side| without_digits(&side.on_terminal(line, "NO_COLOR=1")));
        assert_eq!(ours, theirs, "{line}");
    }
}

/// What the issue is about: the account is the first line of a short answer.
#[test]
fn the_account_is_the_first_line_of_what_is_less_than_a_block() {
    let ours = Twins::new().ours;
    ours.prepare("many");
    let text = merged(&ours, "-D -p udp --sport 107");
    assert!(
        text.lines().next().is_some_and(|line| line.contains("1 flow entries have been deleted"))
    );
}

fn merged(side: &Side, line: &str) -> String {
    let (args, given) = line.split_once(" << ").unwrap_or((line, ""));
    let given: String = given.split(" | ").map(|line| format!("{line}\n")).collect();
    side.merged(args, &given)
}

fn without_digits(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}
