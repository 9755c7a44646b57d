//! What is said of parameters, and in which order.

use super::*;
use crate::nfct::words;
use proptest::prelude::*;

fn parsed(text: &str) -> Result<Action, Failure> {
    let words: Vec<_> = text.split(' ').collect();
    words::split(&words).and_then(|line| parse(&line))
}

fn said(text: &str) -> String {
    let text = parsed(text).unwrap_err().to_string();
    text.trim_start_matches("nfct v1.4.9: ").to_owned()
}

#[test]
fn seconds_are_decimal_and_what_the_kernel_can_hold() {
    let seconds = |word| match parsed(&format!("add timeout t inet tcp close {word}")) {
        Ok(Action::AddTimeout(policy)) => Ok(policy.seconds[&8]),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.to_string()),
    };
    assert_eq!(seconds("0"), Ok(0));
    assert_eq!(seconds("4294967"), Ok(4_294_967));
    for word in ["4294968", "-1", "+1", "foo", "1s", "0x1", "", "99999999999"] {
        assert!(seconds(word).unwrap_err().contains(&format!("bad timeout `{word}'")), "{word}");
    }
}

#[test]
fn names_are_never_cut() {
    let name = "a".repeat(31);
    assert!(parsed(&format!("add timeout {name} inet tcp close 1")).is_ok());
    assert_eq!(
        said(&format!("add timeout {name}a inet tcp close 1")),
        format!("bad name `{name}a': 1 to 31 bytes")
    );
    assert!(said("add timeout  inet tcp close 1").starts_with("bad name `'"));
    assert!(said(&format!("delete timeout {name}a")).starts_with("bad name"));
    assert!(said("get helper 0123456789abcdef").ends_with("1 to 15 bytes"));
}

#[test]
fn the_checks_come_in_the_order_of_the_original() {
    assert!(said("add timeout t inet").starts_with("missing parameters\nsyntax: nfct add timeout"));
    assert_eq!(said("add timeout t foo bar baz"), "unknown layer 3 protocol");
    assert_eq!(said("add timeout t inet bar baz"), "unknown layer 4 protocol");
    assert_eq!(
        said("add timeout t inet icmpv6 foo 7 bar"),
        "Wrong state name: `foo' for protocol `icmpv6'"
    );
    assert_eq!(said("add timeout t inet icmpv6 timeout 7 bar"), "missing value for this timeout");
    assert_eq!(said("add helper nosuch foo bar"), "unknown layer 3 protocol");
    assert_eq!(said("add helper nosuch inet bar"), "unsupported layer 4 protocol");
    assert_eq!(said("add helper ftp inet udp"), "that helper is not supported");
    assert_eq!(said("add helper ftp inet tcp more"), "too many arguments");
    assert_eq!(said("default-get timeout inet generic more"), "too many arguments");
}

#[test]
fn a_state_named_twice_has_the_last_value() {
    let Ok(Action::AddTimeout(policy)) = parsed("add timeout t inet generic timeout 1 TimeOut 2")
    else {
        panic!("it is well formed");
    };
    assert_eq!(policy.seconds, [(1, 2)].into());
}

proptest! {
    #[test]
    fn any_words_are_an_action_or_a_failure(
        words in prop::collection::vec("(add|list|get|def|timeout|helper|inet6?|tcp|udp|close|-o|json|ftp|\\PC{0,40})", 0..9),
    ) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let _ = words::split(&words).and_then(|line| parse(&line));
    }
}
