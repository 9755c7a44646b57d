//! `ctflow list | count | delete | filter` on the kernel's own table, without a daemon.

use ctnetlink::Flow;
use host::removal::{self, Removed};
use std::fmt::Write;
use std::process::{Command, Output, Stdio};
use tests::conntrack::{catalogue_len, count, insert_catalogue};
use tests::ctnetlink::{Requests, udp};
use tests::daemon::{Brand, Files};
use tests::netns::Namespace;

/// Runs `ctflow` inside of a namespace, without a terminal.
pub(crate) fn ctflow(namespace: &Namespace, line: &str) -> Output {
    let mut command = Command::new(Brand::Ours.program().with_file_name("ctflow"));
    command.args(line.split_whitespace()).stdin(Stdio::null());
    namespace.within(|| command.output().expect("the program can be started"))
}

/// Exit code, standard output, standard error.
pub(crate) fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The program's output, without the end of the line; it must succeed.
fn printed(namespace: &Namespace, line: &str) -> String {
    let (code, out, err) = said(&ctflow(namespace, line));
    assert_eq!(code, 0, "{line}: {err}");
    out.trim_end().to_owned()
}

/// Filters, and how many flows of the catalogue each selects.
pub(crate) const FILTERS: [(&str, usize); 34] = [
    ("", 28),
    ("tcp", 13),
    ("not tcp", 15),
    ("ip6", 5),
    ("icmp or icmp6", 3),
    ("tcp and state established", 6),
    ("state established", 7),
    ("state syn_sent,close", 2),
    ("assured", 9),
    ("unreplied and udp and ip", 5),
    ("zone 7", 1),
    ("zone 7,9", 2),
    ("zone 0 and udp", 6),
    ("mark 5", 2),
    ("mark 0x1/0x1", 3),
    ("mark 0 and zone 7", 1),
    ("snat", 5),
    ("snat 9.9.9.9", 4),
    ("snat 9.9.9.9:4000", 1),
    ("dnat 8.8.8.8:8080", 1),
    ("anynat", 8),
    ("nat dst 8.8.8.8", 3),
    ("not anynat and tcp", 10),
    ("src 1.1.1.1", 23),
    ("src 1.1.1.0/24 and dst 2.2.2.3", 1),
    ("host 8.8.8.8", 3),
    ("8.8.8.8 or 2001:db8::8", 4),
    ("reply dst 9.9.9.9", 4),
    ("reply src port 5353", 1),
    ("dst port 80 and tcp", 12),
    ("port 1001,1002-1004 and tcp and ip", 4),
    ("expected", 1),
    ("proto 200", 1),
    ("-p tcp --state ESTABLISHED -s 1.1.1.1", 4),
];

#[test]
fn a_filter_selects_what_it_says_from_the_kernel() {
    let namespace = Namespace::new();
    insert_catalogue(&namespace);
    assert_eq!(count(&namespace), catalogue_len());
    let mut wrong = String::new();
    for (filter, expected) in FILTERS {
        let found = printed(&namespace, &format!("count --kernel {filter}"));
        if found != expected.to_string() {
            writeln!(wrong, "{filter}: {found}, not {expected}").unwrap();
        }
        // A list has as many lines.
        let lines = printed(&namespace, &format!("list --kernel {filter}"));
        assert_eq!(lines.lines().count().to_string(), found, "{filter}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn flows_are_shown_in_every_format_and_counted_by_keys() {
    let namespace = Namespace::new();
    insert_catalogue(&namespace);
    let json = printed(&namespace, "list --kernel -o json zone 7,9");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2, "{json}");
    let empty = printed(&namespace, "list --kernel -o json zone 8");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&empty).unwrap(), serde_json::json!([]));
    assert!(printed(&namespace, "list --kernel -o xml zone 7").contains("<zone>7</zone>"));
    let save = printed(&namespace, "list --kernel -o save zone 7");
    assert!(save.starts_with("-A ") && save.contains("-w 7"), "{save}");
    assert_eq!(printed(&namespace, "list --kernel --limit 3").lines().count(), 3);
    assert_eq!(printed(&namespace, "count --kernel --by zone --top 1"), "26\t0\n2\tothers");
    let (code, _, err) = said(&ctflow(&namespace, "count --kernel sctp or snat tcp"));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("write parentheses"), "{err}");
    let json = printed(&namespace, "count --kernel -o json --by nat,zone zone 7,9");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["count"], &json["table"]), (&2.into(), &28.into()), "{json}");
    assert_eq!(json["groups"].as_array().unwrap().len(), 2, "{json}");
}

#[test]
fn deletes_are_counted_limited_and_exact() {
    let namespace = Namespace::new();
    insert_catalogue(&namespace);
    let all = catalogue_len();
    // (what is asked, exit code, what is said, flows that are left)
    for (line, code, words, left) in [
        ("delete --kernel", 2, "--all says that it is meant", all),
        ("delete --kernel zone 7 --dry-run", 0, "would delete 1 of 28 flows", all),
        (
            "delete --kernel not tcp --max 3",
            3,
            "15 flows match, more than --max 3; nothing deleted",
            all,
        ),
        ("delete --kernel not tcp", 3, "more than half of the table", all),
        ("delete --kernel zone 8", 0, "deleted 0 of 28 flows", all),
        ("delete --kernel zone 8 --require-match", 1, "deleted 0 of 28 flows", all),
        ("delete --kernel zone 7 --yess", 2, "do not mix", all),
        ("delete --kernel zone", 2, "filter:1:5", all),
        ("delete --kernel bytes > 1", 2, "nf_conntrack_acct is 0", all),
        ("delete --kernel iif eth0", 2, "no source records interfaces", all),
        ("delete --kernel zone 7 -o save", 2, "only text and json", all),
        ("delete --kernel zone 7", 0, "deleted 1 of 28 flows", all - 1),
        ("delete --kernel not tcp --yes", 0, "deleted 14 of 27 flows", 13),
        ("delete --kernel --all --yes", 0, "(0 had ended, 0 refused)", 0),
        ("delete --kernel --all --yes", 0, "deleted 0 of 0 flows", 0),
    ] {
        let (is, _, err) = said(&ctflow(&namespace, line));
        assert_eq!(is, code, "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
        assert_eq!(count(&namespace), left, "{line}");
    }
}

#[test]
fn the_result_of_a_delete_is_told_in_json() {
    let namespace = Namespace::new();
    insert_catalogue(&namespace);
    let json = printed(&namespace, "delete --kernel -o json tcp");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let numbers = ["matched", "deleted", "ended", "refused", "table"].map(|key| json[key].as_u64());
    assert_eq!(numbers, [Some(13), Some(13), Some(0), Some(0), Some(28)], "{json}");
}

/// A flow that began since under the same identity has another id.
#[test]
fn a_successor_under_the_same_tuple_survives() {
    let namespace = Namespace::new();
    let mut requests = Requests::open(&namespace);
    let flow = udp(1);
    requests.create(std::slice::from_ref(&flow));
    let id = |namespace: &Namespace| {
        let json = printed(namespace, "list --kernel -o json");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json[0]["id"].as_u64().unwrap() as u32
    };
    // To the kernel, the predecessor's id is any other than the flow's own.
    let other = id(&namespace) ^ 1;
    let removed = namespace.within(|| removal::remove([(flow.key(), Some(other))]).unwrap());
    assert_eq!(removed, Removed { ended: 1, ..Removed::default() });
    assert_eq!(count(&namespace), 1);
    // More than a batch, with some that are gone in between.
    let many: Vec<Flow> = (2..700).map(udp).collect();
    requests.create(&many);
    requests.delete(&many[100..200]);
    let victims = many.iter().map(|flow| (flow.key(), None));
    let removed = namespace.within(|| removal::remove(victims).unwrap());
    assert_eq!(removed, Removed { deleted: 598, ended: 100, ..Removed::default() });
}

#[test]
fn sets_come_from_files_and_an_empty_one_deletes_nothing() {
    let namespace = Namespace::new();
    let mut requests = Requests::open(&namespace);
    let flows: Vec<Flow> = (0..300).map(udp).collect();
    requests.create(&flows);
    let files = Files::new();
    let path = files.path().join("hosts");
    let lines: String =
        flows[..10].iter().map(|f| format!("{} # gone\n", f.orig.src_ip())).collect();
    std::fs::write(&path, lines).unwrap();
    let wanted =
        flows.iter().filter(|f| flows[..10].iter().any(|g| g.orig.src == f.orig.src)).count();
    let line = format!("delete --kernel src @{} --yes", path.display());
    let (code, _, err) = said(&ctflow(&namespace, &line));
    assert_eq!((code, err.contains(&format!("deleted {wanted} of 300"))), (0, true), "{err}");
    std::fs::write(&path, "# nothing\n").unwrap();
    let (code, _, err) = said(&ctflow(&namespace, &line));
    assert_eq!((code, err.contains("holds no values")), (2, true), "{err}");
    let (code, _, err) = said(&ctflow(&namespace, &format!("{line} --allow-empty")));
    assert_eq!((code, err.contains("deleted 0 of")), (0, true), "{err}");
}

#[test]
fn another_namespace_is_asked_by_name() {
    let name = format!("ctflow-ops-{}", std::process::id());
    let outside = Namespace::new();
    outside.sh(&format!("ip netns add {name}"));
    let run = |line: &str| said(&ctflow(&outside, line));
    let (code, out, err) = run(&format!("count --kernel --netns {name}"));
    let made = format!(
        "ip netns exec {name} conntrack -I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 -t 99"
    );
    outside.sh(&made);
    let one = run(&format!("count --kernel --netns {name} udp"));
    let here = run("count --kernel");
    let nowhere = run("count --kernel --netns nowhere-at-all");
    outside.sh(&format!("ip netns del {name}"));
    assert_eq!((code, out.as_str()), (0, "0\n"), "{err}");
    assert_eq!(one.1, "1\n", "{}", one.2);
    assert_eq!(here.1, "0\n", "{}", here.2);
    assert_eq!((nowhere.0, nowhere.2.contains("nowhere-at-all")), (2, true), "{}", nowhere.2);
}

#[test]
fn a_filter_is_explained() {
    let namespace = Namespace::new();
    insert_catalogue(&namespace);
    assert_eq!(printed(&namespace, "filter TCP DST PORT 80"), "tcp and dst port 80");
    let explained = printed(&namespace, "filter --kernel --explain tcp dst port 80 src 1.1.1.1");
    for words in [
        "filter          tcp and dst port 80 and src 1.1.1.1",
        "kernel          family ipv4, addresses, protocol and ports",
        "conntrack       -p tcp --orig-port-dst 80 -s 1.1.1.1",
        "matches         10 of 28 flows",
    ] {
        assert!(explained.contains(words), "{words}\n{explained}");
    }
    let json = printed(&namespace, "filter --kernel --explain -o json zone 7");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["filter"], &json["matches"]), (&"zone 7".into(), &"1 of 28 flows".into()));
}
