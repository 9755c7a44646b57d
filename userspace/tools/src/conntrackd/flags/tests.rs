//! Every flag, every sub-word, and what is refused.

use super::{Action, Args, CONFIG_DEFAULT, VERBS, command, parse};
use std::path::PathBuf;
use wire::control::Request;

fn args(line: &str) -> Args {
    parse(["conntrackd"].into_iter().chain(line.split_whitespace()))
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    match parse(["conntrackd"].into_iter().chain(line.split_whitespace())) {
        Ok(args) => panic!("{line}: {args:?}"),
        Err(error) => error.to_string(),
    }
}

/// The number that a client sends.
fn number(line: &str) -> i32 {
    match args(line).action {
        Action::Client(request) => request.number(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn without_a_command_it_is_the_daemon() {
    assert_eq!(args("").action, Action::Run { detach: false });
    assert_eq!(args("").config, PathBuf::from(CONFIG_DEFAULT));
    assert_eq!(args("-d").action, Action::Run { detach: true });
    assert_eq!(args("--daemon").action, Action::Run { detach: true });
    assert_eq!(args("-d -d -C /x").config, PathBuf::from("/x"));
    assert_eq!(args("--check -C /x").action, Action::Check);
}

#[test]
fn the_configuration_may_be_named_before_and_after_the_command() {
    for line in ["-C /x -s cache", "-s cache -C /x", "--config=/x -s cache", "-s cache --config /x"]
    {
        assert_eq!(args(line).config, PathBuf::from("/x"), "{line}");
        assert_eq!(number(line), 29, "{line}");
    }
    assert_eq!(args("-C /x -C /y").config, PathBuf::from("/y"));
    assert!(refused("-C").contains("value is required"));
}

#[test]
fn every_command_and_its_number() {
    for (line, wanted) in [
        ("-c", 46),
        ("-c ct", 18),
        ("-c expect", 42),
        ("-i", 16),
        ("-i ct", 16),
        ("-i expect", 40),
        ("-i -x", 24),
        ("-i ct -x", 24),
        ("-i expect -x", 47),
        ("-e", 17),
        ("-e ct", 17),
        ("-e expect", 41),
        ("-e -x", 25),
        ("-e expect -x", 48),
        ("-f", 45),
        ("-f internal", 33),
        ("-f external", 34),
        ("-F", 43),
        ("-F ct", 0),
        ("-F expect", 38),
        ("-R", 44),
        ("-R ct", 1),
        ("-R expect", 39),
        ("-B", 22),
        ("-n", 23),
        ("-t", 26),
        ("-k", 20),
        ("-s", 21),
        ("-s network", 28),
        ("-s cache", 29),
        ("-s runtime", 30),
        ("-s multicast", 31),
        ("-s link", 31),
        ("-s rsqueue", 32),
        ("-s process", 35),
        ("-s queue", 36),
        ("-s ct", 21),
        ("-s expect", 37),
    ] {
        assert_eq!(number(line), wanted, "{line}");
    }
}

#[test]
fn long_options_mean_the_same() {
    for verb in VERBS {
        assert_eq!(number(&format!("--{}", verb.long)), number(&format!("-{}", verb.short)));
        for (word, request) in verb.words {
            assert_eq!(number(&format!("--{} {word}", verb.long)), request.number());
            assert_eq!(number(&format!("--{}={word}", verb.long)), request.number());
            assert_eq!(number(&format!("-{}{word}", verb.short)), request.number());
        }
    }
}

/// Each beginning of a sub-word means the first sub-word that begins so.
#[test]
fn sub_words_may_be_cut_short() {
    for verb in VERBS {
        for (word, _) in verb.words {
            for len in 1..=word.len() {
                let cut = &word[..len];
                let first = verb.words.iter().find(|(word, _)| word.starts_with(cut)).unwrap();
                assert_eq!(number(&format!("-{} {cut}", verb.short)), first.1.number(), "{cut}");
            }
        }
    }
    let order =
        [("n", 28), ("c", 29), ("r", 30), ("m", 31), ("l", 31), ("rs", 32), ("p", 35), ("q", 36)];
    for (cut, wanted) in order.into_iter().chain([("ct", 21), ("e", 37)]) {
        assert_eq!(number(&format!("-s {cut}")), wanted, "{cut}");
    }
}

#[test]
fn a_word_that_is_none_is_refused_with_those_that_are() {
    for verb in VERBS {
        let message = refused(&format!("-{} bogus", verb.short));
        assert!(message.contains("bogus"), "{message}");
        for (word, _) in verb.words {
            assert!(message.contains(word), "{message}");
            // A word with something after it is no beginning of anything.
            refused(&format!("-{} {word}x", verb.short));
        }
    }
}

#[test]
fn the_last_command_counts() {
    assert_eq!(number("-i -e"), 17);
    assert_eq!(number("-e -i"), 16);
    assert_eq!(number("-k -s network -i expect"), 40);
    assert_eq!(number("-s cache -s network"), 28);
    assert_eq!(number("-s -k"), 20);
    assert_eq!(number("-k -s"), 21);
    assert_eq!(number("-i expect -i"), 16);
    assert_eq!(number("-B -n -t -B"), 22);
}

#[test]
fn xml_follows_what_it_is_about() {
    for line in ["-x", "-x -i", "-k -x", "-s -x", "-x -C /x", "-d -x", "--check -x"] {
        assert!(refused(line).contains("-x must follow -i or -e"), "{line}");
    }
    assert_eq!(number("-s -i -x"), 24);
    assert_eq!(number("--dump-external --xml"), 25);
}

#[test]
fn daemon_and_client_do_not_mix() {
    for verb in VERBS {
        refused(&format!("-d -{}", verb.short));
        refused(&format!("-{} -d", verb.short));
        refused(&format!("--check -{}", verb.short));
    }
    refused("--check -d");
}

#[test]
fn unknown_arguments_are_refused_by_name() {
    for (line, name) in [
        ("-z", "-z"),
        ("--bogus", "--bogus"),
        ("foo", "foo"),
        ("-i ct foo", "foo"),
        ("-k foo", "foo"),
    ] {
        let message = refused(line);
        assert!(message.starts_with("error: ") && message.contains(name), "{message}");
    }
}

#[test]
fn the_old_name_of_a_statistic_is_warned_about() {
    assert_eq!(args("-s multi").warnings, ["use `link' instead of `multicast' as parameter."]);
    assert!(args("-s link").warnings.is_empty());
    assert!(args("-s multicast -s link").warnings.is_empty());
}

#[test]
fn help_and_version_are_printed() {
    for line in ["-h", "--help", "-i -h"] {
        let Action::Print(text) = args(line).action else { panic!("{line}") };
        for verb in VERBS {
            assert!(text.contains(&format!("-{}, --{}", verb.short, verb.long)), "{text}");
        }
        assert!(text.contains("--check"));
    }
    for line in ["-v", "--version"] {
        let Action::Print(text) = args(line).action else { panic!("{line}") };
        assert_eq!(text.trim(), concat!("conntrackd ", env!("CARGO_PKG_VERSION")));
    }
}

/// conntrackd's own clients send every number but 19; 1001 is for `ctflow ready`, 1002 for `ctflow list` and its like.
#[test]
fn every_request_of_conntrackd_but_one_can_be_made() {
    let words = VERBS.iter().flat_map(|verb| verb.words.iter().map(|(_, request)| *request));
    let mut made: Vec<Request> = words.chain(VERBS.iter().map(|verb| verb.alone)).collect();
    made.extend([
        Request::DumpLocalXml,
        Request::DumpRemoteXml,
        Request::DumpLocalExpectationsXml,
        Request::DumpRemoteExpectationsXml,
    ]);
    let missing: Vec<_> = Request::ALL.iter().filter(|request| !made.contains(request)).collect();
    assert_eq!(missing, [&Request::FlushFlowTables, &Request::Ready, &Request::Framed]);
}
