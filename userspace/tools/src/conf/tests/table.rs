//! Every row of the table, in every block.

use super::{clean, syntax};
use crate::conf::Conf;
use crate::conf::schema::{Block, Body, KEYWORDS, Keyword, Kind};

/// A right way to write the keyword.
fn sample(keyword: &Keyword) -> String {
    let mut out = keyword.name.to_owned();
    for param in keyword.params().filter(|param| !param.optional) {
        out.push(' ');
        out.push_str(&word(param.kind));
    }
    match keyword.body {
        Body::None | Body::ListInstead(_) => {}
        _ => out.push_str(" { }"),
    }
    out
}

fn word(kind: Kind) -> String {
    match kind {
        Kind::Number { max, .. } => max.to_string(),
        Kind::Interval(max) => format!("0-{max}"),
        Kind::Mark => "0x10/0xF0".to_owned(),
        Kind::Share => "1/8".to_owned(),
        Kind::Signed => "-5".to_owned(),
        Kind::Bool => "YES".to_owned(),
        Kind::Choice { words, .. } => words[0].name.to_owned(),
        Kind::Path(_) => "/tmp/x".to_owned(),
        Kind::Ipv4 => "192.0.2.1".to_owned(),
        Kind::Ipv6 => "2001:db8::1".to_owned(),
        Kind::Ipv4Prefix => "192.0.2.0/24".to_owned(),
        Kind::Ipv6Prefix => "2001:db8::/32".to_owned(),
        Kind::Endpoint => "127.0.0.1:10466".to_owned(),
        Kind::Interface => "fa0".to_owned(),
        Kind::Name => "ftp".to_owned(),
        Kind::NodeName => "fw-b".to_owned(),
        Kind::PublicKey => "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".to_owned(),
        Kind::Host => "fw-b.example.net".to_owned(),
        Kind::OneOf(kinds) => word(kinds[0]),
    }
}

/// The text with a hole in `block`.
fn around(block: Block) -> (&'static str, &'static str) {
    match block {
        Block::File => ("", ""),
        Block::General => ("General {", "}"),
        Block::Unix => ("General { UNIX {", "} }"),
        Block::Scheduler => ("General { Scheduler {", "} }"),
        Block::Filter => ("General { Filter {", "} }"),
        Block::Address => ("General { Filter { Address Ignore {", "} } }"),
        Block::Sync => ("Sync {", "}"),
        Block::Ftfw => ("Sync { Mode FTFW {", "} }"),
        Block::Alarm => ("Sync { Mode alarm {", "} }"),
        Block::NoTrack => ("Sync { Mode NoTrack {", "} }"),
        Block::Multicast => ("Sync { Multicast {", "} }"),
        Block::Udp => ("Sync { UDP {", "} }"),
        Block::Tcp => ("Sync { TCP Default {", "} }"),
        Block::Options => ("Sync { Options {", "} }"),
        Block::Replication => ("Sync { Replication {", "} }"),
        Block::Peer => ("Sync { Replication { Peer fw-b {", "} } }"),
        Block::Stats => ("Stats {", "}"),
        Block::Metrics => ("Metrics {", "}"),
        Block::Log => ("Log {", "}"),
        Block::Helper => ("Helper {", "}"),
        Block::HelperType => ("Helper { Type ftp inet tcp {", "} }"),
        Block::Policy => ("Helper { Type ftp inet tcp { Policy ftp {", "} } }"),
        Block::Subscribe => ("Subscribe {", "}"),
        Block::Failures => ("Failures {", "}"),
    }
}

fn within(block: Block, line: &str) -> String {
    let (before, after) = around(block);
    format!("{before} {line} {after}")
}

#[test]
fn a_keyword_is_legal_where_the_table_says() {
    for block in Block::ALL {
        for keyword in block.keywords() {
            let found = syntax(&within(block, &sample(keyword)));
            let only_deprecation = found.iter().all(|d| d.message.contains("deprecated"));
            assert!(only_deprecation, "{:?} {}: {found:?}", block, keyword.name);
            assert_eq!(found.is_empty(), keyword.deprecated.is_none());
        }
    }
}

#[test]
fn a_keyword_is_refused_everywhere_else_and_told_where_it_belongs() {
    let rows = Block::ALL.into_iter().flat_map(Block::keywords);
    for (keyword, block) in rows.flat_map(|row| Block::ALL.map(|block| (row, block))) {
        if block.find(keyword.name).is_some() {
            continue;
        }
        let found = syntax(&within(block, &sample(keyword)));
        assert_eq!(found.len(), 1, "{:?} {}: {found:?}", block, keyword.name);
        let message = format!("`{}` cannot be used in {}", keyword.name, block.title());
        assert_eq!(found[0].message, message);
        assert!(found[0].label.contains(keyword.places[0].title()), "{}", found[0].label);
    }
}

#[test]
fn an_alias_is_as_good_as_the_name() {
    for block in Block::ALL {
        for keyword in block.keywords() {
            for alias in keyword.aliases {
                let line = sample(keyword).replace(keyword.name, alias);
                assert!(syntax(&within(block, &line)).is_empty(), "{alias}");
            }
        }
    }
}

/// An argument of each wrong kind, or none, or out of range, is one error that names the keyword.
#[test]
fn a_wrong_argument_is_one_error() {
    let wrong = |kind: Kind| match kind {
        Kind::Number { max, .. } => {
            vec!["five".to_owned(), "-5".to_owned(), format!("{}", u64::from(max) + 1)]
        }
        Kind::Interval(max) => ["-", "5-", "9-8", "1-2-3", &format!("{}", u32::from(max) + 1)]
            .map(str::to_owned)
            .to_vec(),
        Kind::Mark => ["0x", "0x1/", "3/1", "g", "4294967296"].map(str::to_owned).to_vec(),
        Kind::Share => ["8", "1/0", "2/8", "1/"].map(str::to_owned).to_vec(),
        Kind::Signed => vec!["5".to_owned()],
        Kind::Bool => vec!["true".to_owned(), "1".to_owned()],
        Kind::Choice { .. } => vec!["nonsense".to_owned()],
        Kind::Path(max) => vec!["tmp/x".to_owned(), "/x".repeat(max)],
        Kind::Ipv4 => vec!["192.0.2.300".to_owned(), "::1".to_owned(), "192.0.2.0/24".to_owned()],
        Kind::Ipv6 => vec!["192.0.2.1".to_owned(), "fe80::1%eth0".to_owned()],
        Kind::Ipv4Prefix => vec!["192.0.2.0/33".to_owned(), "::1/8".to_owned()],
        Kind::Ipv6Prefix => vec!["::1/129".to_owned(), "::1/x".to_owned()],
        Kind::Endpoint => {
            ["127.0.0.1", "10466", "::1:80", "1.2.3.4:0", "[::1]:70000", "run/x", ":"]
                .map(str::to_owned)
                .to_vec()
        }
        Kind::Interface => vec!["a/b".to_owned(), "sixteen-letters-".to_owned()],
        Kind::NodeName => vec!["Fw_B".to_owned(), "a".repeat(33)],
        Kind::PublicKey => vec!["A".repeat(43), "!".repeat(44)],
        Kind::Host => ["300.1.2.3", "-a", "a..b", "10.0.0.0/8"].map(str::to_owned).to_vec(),
        Kind::Name | Kind::OneOf(_) => vec![],
    };
    for block in Block::ALL {
        for keyword in block.keywords().filter(|row| row.deprecated.is_none()) {
            let params: Vec<_> = keyword.params().filter(|param| !param.optional).collect();
            let [param] = params.as_slice() else { continue };
            let right = sample(keyword);
            for bad in wrong(param.kind) {
                let line = right.replacen(&word(param.kind), &bad, 1);
                let found = syntax(&within(block, &line));
                assert_eq!(found.len(), 1, "{line}: {found:?}");
                assert!(found[0].message.contains(keyword.name), "{line}: {found:?}");
            }
            let line = right.replacen(&word(param.kind), "", 1);
            let found = syntax(&within(block, &line));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert_eq!(found[0].message, format!("`{}` lacks an argument", keyword.name));
        }
    }
}

/// A default that can be written down is what holds when nothing is written down.
#[test]
fn the_documented_defaults_hold() {
    let mut tried = 0;
    let places =
        Block::ALL.into_iter().flat_map(|block| block.keywords().map(move |row| (block, row)));
    for (place, keyword) in places {
        let Some(param) = keyword.params().next() else { continue };
        let Some(default) = keyword.default.text() else { continue };
        // What is said in words is no value, though it may be a name.
        let is_words = default.contains(' ');
        if is_words || param.optional || param.kind.value(&default).is_err() || keyword.is_block() {
            continue;
        }
        let line = format!("{} {default}", keyword.name);
        // A default that is named as a file has no other meaning.
        let meaning = |line: &str| Conf { files: Vec::new(), ..clean(&surrounded(place, line)) };
        assert_eq!(meaning(&line), meaning(""), "{line}");
        tried += 1;
    }
    assert!(tried >= 25, "only {tried} defaults were tried");
}

/// The one default that another block decides.
#[test]
fn events_of_stats_are_as_reliable_as_general_says() {
    let conf = |general: &str, stats: &str| {
        let text = format!("Stats {{ {stats} }} General {{ UNIX {{ Path /x }} {general} }}");
        clean(&text).general.netlink_events_reliable
    };
    assert!(conf("NetlinkEventsReliable on", ""));
    assert!(!conf("NetlinkEventsReliable on", "NetlinkEventsReliable off"));
    assert!(conf("", "NetlinkEventsReliable on"));
    let row = Block::Stats.find("NetlinkEventsReliable").unwrap();
    assert_eq!(row.default.text().as_deref(), Some("as in `General`"));
}

/// A value is written as it is read.
#[test]
fn a_value_is_shown_as_it_is_written() {
    let kinds = KEYWORDS.iter().flat_map(Keyword::params).map(|param| param.kind);
    let lists = [Kind::Interval(65535), Kind::Mark];
    // The value of a share is the number alone.
    let plain = kinds.chain(lists).filter(|kind| !matches!(kind, Kind::Share));
    for kind in plain {
        let value = kind.value(&word(kind)).unwrap();
        assert_eq!(kind.value(&value.to_string()), Ok(value), "{kind:?}");
    }
}

/// `on` means what the reference says that it means.
#[test]
fn the_documented_meanings_of_on_hold() {
    let mut tried = 0;
    for keyword in KEYWORDS {
        let (Some(on), place) = (keyword.on, keyword.places[0]) else { continue };
        let with = |value: &str| clean(&surrounded(place, &format!("{} {value}", keyword.name)));
        assert_eq!(with("on"), with(&on().to_string()), "{}", keyword.name);
        tried += 1;
    }
    assert_eq!(tried, 4, "LogFile twice, Syslog, NetlinkOverrunResync");
    let takes_both = |kind| matches!(kind, Kind::OneOf(kinds) if kinds.iter().any(|kind| matches!(kind, Kind::Bool)));
    let unsaid: Vec<_> = KEYWORDS
        .iter()
        .filter(|row| row.on.is_none() && row.params().any(|param| takes_both(param.kind)))
        .map(|row| row.name)
        .collect();
    assert_eq!(unsaid, [""; 0], "they take `on` beside a value, and nothing says what it means");
}

/// Every keyword with a value has a default, or a reason to have none.
#[test]
fn what_holds_without_a_keyword_is_said() {
    for keyword in KEYWORDS.iter().filter(|row| row.default.text().is_none()) {
        let is_required = keyword.doc.ends_with("Required.") || keyword.places == [Block::Unix];
        let is_address = keyword.name.starts_with("IPv");
        let adds = keyword.repeats || keyword.is_block() || keyword.places == [Block::Filter];
        let fine = is_required || is_address || adds || keyword.deprecated.is_some();
        assert!(fine, "{} has no default", keyword.name);
    }
}

/// A whole and right configuration with a line added to `block`.
fn surrounded(block: Block, line: &str) -> String {
    const GENERAL: &str = "General { UNIX { Path /x } }";
    const LINK: &str =
        "IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.2 Port 5 Interface fa0";
    const NODES: &str = "Name fw-a KeyFile /k Port 5 Peer fw-b { \
         PublicKey hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo= Address 192.0.2.2 }";
    const GROUP: &str = "IPv4_address 225.0.0.50 IPv4_interface 192.0.2.1 Group 5 Interface fa0";
    match block {
        Block::General => format!("General {{ UNIX {{ Path /x }} {line} }} Stats {{ }}"),
        Block::Scheduler => {
            format!("General {{ UNIX {{ Path /x }} Scheduler {{ {line} }} }} Stats {{ }}")
        }
        Block::Ftfw | Block::Alarm | Block::NoTrack => {
            let (before, after) = around(block);
            format!("{before} {line} }} UDP {{ {LINK} }} {} {GENERAL}", &after[1..])
        }
        Block::Sync => format!("Sync {{ Mode ALARM {{ }} UDP {{ {LINK} }} {line} }} {GENERAL}"),
        Block::Udp => format!("Sync {{ Mode FTFW {{ }} UDP {{ {LINK} {line} }} }} {GENERAL}"),
        Block::Multicast => {
            format!("Sync {{ Mode FTFW {{ }} Multicast {{ {GROUP} {line} }} }} {GENERAL}")
        }
        Block::Tcp => format!("Sync {{ Mode FTFW {{ }} TCP {{ {LINK} {line} }} }} {GENERAL}"),
        Block::Options => {
            format!("Sync {{ Mode FTFW {{ }} UDP {{ {LINK} }} Options {{ {line} }} }} {GENERAL}")
        }
        Block::Replication => format!("Sync {{ Replication {{ {NODES} {line} }} }} {GENERAL}"),
        Block::Peer => {
            let (before, after) = NODES.split_at(NODES.len() - 1);
            format!("Sync {{ Replication {{ {before} {line} {after} }} }} {GENERAL}")
        }
        Block::HelperType => {
            format!("Helper {{ Type ftp inet tcp {{ QueueNum 5 {line} }} }} Stats {{ }} {GENERAL}")
        }
        Block::Metrics => {
            format!("Metrics {{ Listen 127.0.0.1:9 {line} }} Stats {{ }} {GENERAL}")
        }
        Block::Helper => format!("Helper {{ {line} }} Stats {{ }} {GENERAL}"),
        Block::Log => format!("Log {{ {line} }} Stats {{ }} {GENERAL}"),
        Block::Failures => format!("Failures {{ {line} }} Stats {{ }} {GENERAL}"),
        Block::Subscribe => format!("Subscribe {{ {line} }} Stats {{ }} {GENERAL}"),
        _ => format!("Stats {{ {line} }} {GENERAL}"),
    }
}
