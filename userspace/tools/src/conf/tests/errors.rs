//! The words in which mistakes are reported, kept in `errors.txt`.

use super::{found, rendered, up_to_date};

const GENERAL: &str = "General {\n    UNIX {\n        Path /run/c.sock\n    }\n}\n";

/// Mistakes people make, each with what should be said about it in `errors.txt`.
const MISTAKES: &[(&str, &str)] = &[
    ("a misspelt keyword", "General {\n    HashSise 8192\n    lockfile /tmp/x\n}\n"),
    ("a keyword nobody knows", "General {\n    Frobnicate on {\n        x\n    }\n}\n"),
    ("a keyword in the wrong block", "Sync {\n    Multicast {\n        Port 3780\n    }\n}\n"),
    ("a wrong kind of argument", "General {\n    HashSize many\n    LogFile conntrackd.log\n}\n"),
    ("a number that is too large", "Sync {\n    UDP {\n        Port 70000\n    }\n}\n"),
    ("a huge number", "General {\n    HashSize 99999999999999\n}\n"),
    ("a missing argument", "General {\n    HashSize\n    HashLimit 5\n}\n"),
    (
        "a keyword where a name was forgotten",
        "Sync {\n    UDP {\n        Interface\n        Port 1\n    }\n}\n",
    ),
    ("an argument too many", "General {\n    HashSize 5 6\n}\n"),
    ("a missing opening brace", "General {\n    UNIX\n        Path /x\n    }\n    HashSize x\n}\n"),
    ("a missing closing brace", "Sync {\n    Mode NOTRACK {\n}\n\nGeneral {\n    HashSize 5\n}\n"),
    (
        "an inner block that is not closed",
        "General {\n    UNIX {\n        Path /x\n    HashSize x\n}\n",
    ),
    ("a text that ends in a block", "General {\n    UNIX {\n        Path /x\n"),
    ("a closing brace too many", "General {\n}\n}\nStats { Bogus }\n"),
    ("a block given twice", "General {\n}\nGeneral {\n}\n"),
    (
        "a setting given twice",
        "General {\n    HashSize 5\n    HashSize 6\n    UNIX { Path /x }\n}\nStats { }\n",
    ),
    ("a quote that is not closed", "General {\n    LogFile \"/tmp/x\n    HashSize x\n}\n"),
    ("an unknown mode", "Sync {\n    Mode FTWF {\n        ResendQueueSize 5\n    }\n}\n"),
    (
        "states without their protocol",
        "General {\n    Filter {\n        State Accept { ESTABLISHED }\n    }\n}\n",
    ),
    (
        "a list that is not closed",
        "General {\n    Filter {\n        Protocol Accept { TCP\n        Address Ignore {\n        }\n    }\n}\n",
    ),
    (
        "a set without policy",
        "General {\n    Filter From Space {\n        Protocol { TCP }\n    }\n}\n",
    ),
    (
        "what is deprecated",
        "General {\n    Nice -5\n    UNIX {\n        Path /x\n        Backlog 5\n    }\n}\nStats { }\n",
    ),
    ("a port alone", "Metrics {\n    Listen 9466\n}\n"),
    (
        "a port of metrics that does not exist",
        "Metrics {\n    Listen 127.0.0.1:0\n    Listen host:80\n}\n",
    ),
    (
        "metrics for everybody, nobody, twice and too often",
        "Metrics {\n    Listen 0.0.0.0:10466\n    Listen [::1]:10466\n    Listen [::1]:10466\n    \
         Listen /a\n    Listen /b\n}\nStats { }\n",
    ),
    (
        "metrics that listen nowhere",
        "General {\n    UNIX {\n        Path /x\n    }\n}\nMetrics {\n}\nStats { }\n",
    ),
    ("a group without a name", "General {\n    Group\n    User\n}\nStats { }\n"),
    (
        "log words that are none",
        "Log {\n    Format xml\n    Level debug\n    Journal maybe\n}\nStats { }\n",
    ),
    ("too many shards", "General {\n    Shards 65\n}\nStats { }\n"),
    ("shards with a peer", "General {\n    Shards 4\n}\nSync { }\n"),
    ("both modes of the daemon", "Sync { }\nStats { }\n"),
    (
        "a set that contradicts itself",
        "General {\n    Filter {\n        Protocol Accept { TCP }\n        Protocol Ignore { UDP }\n    }\n}\n",
    ),
    (
        "an unknown protocol and facility",
        "General {\n    Syslog mail\n    Filter {\n        Protocol Accept { TPC }\n    }\n}\n",
    ),
    (
        "sets of numbers that hold none",
        "General {\n    Filter {\n        DestinationPort Accept { 80 70000 }\n        Zone Ignore { 9-3 }\n        SourcePort Accept { http }\n    }\n}\n",
    ),
    (
        "marks that cannot be",
        "General {\n    Filter {\n        Mark Accept { 0x3/0x1 0x100000000 red }\n        Mark Ignore { 1 }\n    }\n}\n",
    ),
    (
        "more marks than there is room for",
        "General {\n    Filter {\n        Mark Accept { 0 1 2 3 4 5 6 7 8 9\n            10 11 12 13 14 15 15 16 17 }\n    }\n}\n",
    ),
    (
        "shares and ages that cannot be",
        "General {\n    Filter {\n        Sample 8\n        MinimumAge 2h\n    }\n}\n",
    ),
    ("nodes that lack something", "Sync {\n    Replication {\n        Peer fw-b { }\n    }\n}\n"),
    (
        "nodes and keys that are given twice",
        "Sync {\n    Replication {\n        Name fw-a\n        KeyFile /a\n        Port 1\n        Peer fw-a {\n            PublicKey hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n            Address 192.0.2.2\n        }\n        Peer fw-b {\n            PublicKey hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n            Address fw-b.example.net\n        }\n        Peer fw-b {\n            PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=\n            PublicKey HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n            PublicKey 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\n            Address 2001:db8::c\n            Address 192.0.2.3\n            Address 192.0.2.4\n            Address 192.0.2.5\n            Address 192.0.2.6\n        }\n        KeyFile /b\n        KeyFile /c\n    }\n}\n",
    ),
    (
        "names, keys and addresses of nodes that are none",
        "Sync {\n    Replication {\n        Name FW_A\n        Settle 2000\n        Peer fw-b {\n            PublicKey hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo\n            Address 192.0.2.300\n            Rate 0\n        }\n    }\n}\n",
    ),
    (
        "version 1 beside nodes",
        "Sync {\n    Mode ALARM { }\n    UDP {\n        IPv4_address 192.0.2.1\n        IPv4_Destination_Address 192.0.2.2\n        Port 1\n        Interface eth0\n    }\n    Replication {\n        Name fw-a\n        KeyFile /a\n        Port 1\n        Peer fw-b {\n            PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=\n            Address 192.0.2.2\n            Version1 on\n        }\n        Peer fw-c {\n            PublicKey HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n            Address 192.0.2.3\n            Version1 on\n        }\n    }\n}\n",
    ),
    (
        "version 1 of a node without links",
        "Sync {\n    Replication {\n        Name fw-a\n        KeyFile /a\n        Port 1\n        Peer fw-b {\n            PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=\n            Address 192.0.2.2\n            Version1 on\n        }\n    }\n}\n",
    ),
    (
        "links that no node is at the other end of",
        "Sync {\n    Mode FTFW { }\n    UDP {\n        IPv4_address 192.0.2.1\n        IPv4_Destination_Address 192.0.2.2\n        Port 1\n        Interface eth0\n    }\n    Replication {\n        Name fw-a\n        KeyFile /a\n        Port 1\n        Peer fw-b {\n            PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=\n            Address 192.0.2.2\n        }\n    }\n}\n",
    ),
    ("no link", "Sync {\n    Mode NOTRACK { }\n}\n"),
    (
        "links that lack something",
        "Sync {\n    UDP { Interface eth0 }\n    UDP { Interface eth0 IPv4_Destination_Address 192.0.2.2 }\n    UDP { }\n}\n",
    ),
    ("links of two kinds", "Sync {\n    UDP { }\n    TCP { }\n}\n"),
    (
        "a link of two families",
        "Sync {\n    Mode FTFW { }\n    UDP {\n        Interface eth0 Port 1\n        IPv6_address ::1\n        IPv4_Destination_Address 192.0.2.2\n    }\n}\n",
    ),
    (
        "a group that is none",
        "Sync {\n    Mode FTFW { }\n    Multicast { Interface eth0 Group 1 IPv4_address 255.0.0.50 }\n}\n",
    ),
    (
        "five links",
        "Sync {\n    Mode FTFW { }\n    UDP { }\n    UDP { }\n    UDP { }\n    UDP { }\n    UDP { }\n}\n",
    ),
    (
        "settings without effect",
        "Sync {\n    Mode NOTRACK { }\n    RefreshTime 15\n    UDP { IPv4_Destination_Address 192.0.2.2 Interface eth0 Port 1 }\n}\n",
    ),
    (
        "checksums off where there always are some",
        "Sync {\n    Mode FTFW { }\n    TCP {\n        Interface eth0 Port 1 IPv4_address 192.0.2.1\n        IPv4_Destination_Address 192.0.2.2\n        Checksum off\n    }\n    TCP {\n        Interface eth0 Port 1 IPv6_address fe80::1\n        IPv6_Destination_Address fe80::2\n    }\n}\n",
    ),
    (
        "no checksums over IPv6",
        "Sync {\n    Mode FTFW { }\n    Multicast {\n        Interface eth0 Group 1 IPv6_address ff02::50\n        Checksum off\n    }\n}\n",
    ),
    ("more room than there can be", "General {\n    HashSize 4294967295\n}\nStats { }\n"),
    (
        "a helper without queue",
        "Helper {\n    Type ftp inet tcp {\n        Policy ftp { }\n    }\n}\nStats { }\n",
    ),
    (
        "helpers that do not exist",
        "Helper {\n    Type foo inet udp { QueueNum 1 }\n    Type ftp inet udp { QueueNum 2 }\n}\n",
    ),
    (
        "helpers that get in each other's way",
        "Helper {\n    Type tftp inet udp { QueueNum 1 }\n    Type ftp inet tcp { QueueNum 1 }\n    Type tftp inet udp { QueueNum 2 }\n}\n",
    ),
    (
        "policies that are not the helper's",
        "Helper {\n    Type tftp inet udp {\n        QueueNum 1\n        Policy xyz { ExpectMax 1 }\n    }\n}\n",
    ),
    (
        "policies that are too many, or too generous",
        "Helper {\n    Type ftp inet tcp {\n        QueueNum 2\n        Policy ftp { ExpectMax 300 }\n        Policy ftp { ExpectMax 2 }\n    }\n}\n",
    ),
];

#[test]
fn mistakes_are_reported_in_these_words() {
    let mut out = String::new();
    for (name, text) in MISTAKES {
        let mut text = (*text).to_owned();
        if !text.contains("General") {
            text.push_str(GENERAL);
        }
        let found = found(&text);
        assert!(!found.is_empty(), "{name}");
        out.push_str(&format!("==== {name}\n\n{}\n\n", rendered(&found, &text)));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    up_to_date("userspace/tools/src/conf/tests/errors.txt", &out);
}

#[test]
fn a_line_for_the_log() {
    let found = found("General {\n  \tHashSise 8192 }");
    assert_eq!(
        found[0].one_line().split("; expected one of").next().unwrap(),
        "test.conf:2:4: unknown keyword `HashSise` in `General`; did you mean `HashSize`?"
    );
}

#[test]
fn columns_count_letters_not_bytes() {
    let found = found("General { LogFile \"/é\" Bogus 5 }");
    assert_eq!((found[0].line(), found[0].column()), (1, 24));
}

/// 64 KiB made of this.
fn much(piece: &str) -> String {
    piece.repeat((64 << 10) / piece.len())
}

/// Texts that are no configuration, each of a kind that could cost more than its length.
fn garbage() -> Vec<String> {
    let address = "IPv4_address 1.2.3.4\n";
    vec![
        much("Nov 28 15:59:02 host kernel: something happened\n"),
        much("a\n"),
        much("a "),
        much("{ "),
        much("} "),
        much("General { "),
        much("General {\n"),
        much("Sync General { Mode "),
        much("Path /x\n"),
        much("Path\n"),
        much("\"\n"),
        much("\"a "),
        much("x"),
        much("General { HashSize many }\n"),
        format!("General {{ {}", much("HashSize many\n")),
        format!("General {{ {}", much("HashSise 5\n")),
        format!("General {{ {}", much("Syslog mail\n")),
        format!("General {{ Filter {{ {}", much("Protocol Accept { foo } Protocol Ignore { }\n")),
        format!("General {{ Filter {{ Protocol Accept {{ {} }} }} }}", much("foo ")),
        format!("General {{ Filter {{ {} }} }}", much("SourcePort Accept { 5 }\n")),
        format!("General {{ Filter {{ Protocol Accept {{ }} {} }} }}", much("Zone Accept { 7 }\n")),
        format!(
            "General {{ Filter {{ Address Ignore {{ {} {} }} }} }}",
            much(address),
            much("IPv6_address ::\n")
        ),
        format!("General {{ Filter {{ Mark Accept {{ {} }} }} }}", much("0x1 ")),
        format!("Sync {{ {} }}", much("UDP { }\n")),
        format!("Helper {{ {} }}", much("Type x inet tcp { }\n")),
        much("\u{fffd} "),
        much(" "),
        much("# nothing\n"),
    ]
}

#[test]
fn garbage_is_reported_in_few_short_lines_and_counted() {
    for text in garbage() {
        let found = found(&text);
        let lines = found.lines();
        assert!(lines.len() <= super::super::diagnostic::SHOWN_MAX + 1, "{}", lines.len());
        for line in &lines {
            assert!(line.len() < 1500 && !line.contains('\n'), "{line}");
        }
        if found.rest > 0 {
            assert_eq!(
                lines.last(),
                Some(&format!("{} more errors and warnings are not shown", found.rest))
            );
        }
        let shown = found.rendered(&text, false);
        assert!(shown.iter().map(String::len).sum::<usize>() < 20_000);
    }
}

#[test]
fn every_error_of_much_garbage_is_counted() {
    let text = "bogus 1\n".repeat(20_000);
    let found = found(&text);
    assert_eq!((found.len(), found.rest), (20, 20_000 - 20));
    assert_eq!((found[19].line(), found[19].column()), (20, 1));
}

#[test]
fn an_error_behind_many_warnings_is_shown() {
    let text = format!("General {{\n{}Bogus 1\n}}\n", "Nice -5\n".repeat(50));
    let found = found(&text);
    assert!(found.iter().any(|d| d.message.contains("Bogus")), "{:?}", found.lines());
    assert_eq!(found.len(), 20);
}

#[test]
fn bytes_that_are_no_text_are_an_error_outside_of_comments() {
    let text = String::from_utf8_lossy(b"# gr\xfc\xdfe\nGeneral { LogFile /var/l\xf6g\n }");
    let found = found(&text);
    assert!(found[0].message.contains("not UTF-8"), "{:?}", found.lines());
    assert_eq!(
        (found[0].line(), found.iter().filter(|d| d.message.contains("UTF-8")).count()),
        (2, 1)
    );
}
