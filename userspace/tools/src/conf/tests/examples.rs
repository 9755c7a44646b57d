//! Whole files: ours, Debian's, and what is left of them after accidents.

use super::{clean, found, rendered, root};
use crate::conf::{LinkKind, ModeConf, SyncMode, parse};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

const DEBIAN: &str = "/usr/share/doc/conntrackd/examples";

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
            continue;
        }
        // Others there are of keepalived and systemd.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("conntrackd") && name.ends_with(".conf") {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn our_examples_are_right() {
    let ours = files(&root().join("contrib"));
    assert_eq!(ours.len(), 7);
    for path in ours {
        clean(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn our_pair_replicates_over_udp() {
    let text = std::fs::read_to_string(root().join("contrib/conntrackd-notrack-udp.conf")).unwrap();
    let ModeConf::Sync(sync) = clean(&text).mode else { panic!("not Sync") };
    assert!(matches!(sync.mode, SyncMode::NoTrack { startup_resync: true, .. }));
    assert!(matches!(sync.links[0].kind, LinkKind::Udp(udp) if udp.port == 3780));
}

#[test]
fn the_examples_of_debian_are_accepted() {
    let theirs = files(Path::new(DEBIAN));
    if theirs.is_empty() {
        println!("skipped: no examples in {DEBIAN}");
    }
    for path in theirs {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = found(&text);
        assert!(found.is_empty(), "{}: {}", path.display(), rendered(&found, &text));
    }
}

/// What conntrackd.conf(5) shows but conntrack-tools refuses: `NetlinkEventsReliable` in `Stats`.
#[test]
fn the_manual_s_stats_example_is_accepted() {
    let conf = clean(
        "Stats { LogFile yes NetlinkEventsReliable yes Syslog yes }
         General { Systemd yes UNIX { Path /var/run/conntrackd.ctl } }",
    );
    assert!(conf.general.netlink_events_reliable);
}

fn survives(text: &str) {
    for diagnostic in found(text).iter() {
        assert!(diagnostic.line() >= 1 && diagnostic.column() >= 1);
        let _ =
            (diagnostic.one_line(), diagnostic.render(text, true), diagnostic.render("", false));
    }
}

/// Text made of the pieces of the language, in any order.
fn soup() -> impl Strategy<Value = String> {
    let words: Vec<&str> = crate::conf::schema::KEYWORDS.iter().map(|row| row.name).collect();
    let filler =
        ["{", "}", "{", "}", "\n", "#", "\"", "on", "5", "/x", "FTFW", "Accept", "for", "TCP", "é"];
    let piece =
        prop_oneof![proptest::sample::select(words), proptest::sample::select(filler.to_vec())];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn no_order_of_words_makes_it_panic(text in soup()) {
        survives(&text);
    }

    #[test]
    fn no_accident_makes_it_panic(from in 0_usize..4096, len in 0_usize..200, put in "[ {}\"#a-z0-9\\n]{0,9}") {
        let text = include_str!("../../../../../contrib/conntrackd-notrack-udp.conf");
        let from = from.min(text.len());
        let to = (from + len).min(text.len());
        survives(&format!("{}{put}{}", &text[..from], &text[to..]));
    }

    /// A file that is cut off never passes for a whole one, unless the cut is past its last brace.
    #[test]
    fn half_a_file_is_refused(at in 0_usize..4096) {
        let text = "General {\n HashSize 5\n UNIX {\n Path /x\n }\n }\n Stats {\n LogFile on\n }";
        let at = at % text.len();
        let whole = text[..at].matches('{').count() == text[..at].matches('}').count();
        prop_assert!(whole || parse(&text[..at], "x").is_err());
    }
}
