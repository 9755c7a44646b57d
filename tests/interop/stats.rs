//! Statistics mode beside the original: the same lines for the same flows.

use std::time::{SystemTime, UNIX_EPOCH};
use tests::conntrack::insert_catalogue;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::sysctl;
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};
use tests::{churn, conntrack};

/// Lines without their times, sorted: the two daemons may receive one end in different seconds.
fn records(daemon: &Daemon<'_>) -> Vec<String> {
    let text = daemon.file("records");
    let entries = text.lines().map(|line| {
        let (time, entry) = line.split_once('\t').expect("a time and a tabulator");
        assert_eq!(time.len(), "Mon Nov 23 22:35:20 2026".len(), "{line}");
        entry.to_owned()
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
}

/// How much of the current second is over.
fn clock_ms() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over").subsec_millis()
}

fn compare(accounting: &str) {
    let stage = Solo::new();
    let node = &stage.node;
    conntrack::allow_labels(node);
    node.within(|| {
        sysctl("net/netfilter/nf_conntrack_acct", accounting);
        sysctl("net/netfilter/nf_conntrack_timestamp", accounting);
    });
    let original = stage.start(Brand::Original, "theirs", &solo(""));
    let ours = stage.ours("ours", &solo(""));
    // The flows live for less than a second, and the next one begins meanwhile.
    wait_until("a second is nearly over", || (700..850).contains(&clock_ms()));
    insert_catalogue(node);
    Requests::open(node).create(&udp_flows(0..20));
    let internal = |daemon: &Daemon<'_>| daemon.internal();
    wait_equal("both know all", || internal(&ours), || internal(&original));
    wait_until("the next one has begun", || clock_ms() < 200);
    node.sh("conntrack -F");
    let total = conntrack::catalogue_len() + 20;
    wait_equal("the original has all", || records(&original).len(), || total);
    wait_equal("the lines are the same", || records(&ours), || records(&original));
    let header = |daemon: &Daemon<'_>| {
        let text = daemon.ask(&["-s"]);
        text.lines().map(|line| line.replace(char::is_numeric, "")).collect::<Vec<_>>().join("\n")
    };
    let columns = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(columns(header(&ours)), columns(header(&original)));
}

#[test]
fn lines_are_the_same_with_counters_and_times() {
    compare("1");
}

#[test]
fn lines_are_the_same_without_counters_and_times() {
    compare("0");
}

#[test]
fn traffic_is_counted_the_same() {
    let stage = Solo::new();
    let node = &stage.node;
    node.nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }",
    );
    node.within(|| sysctl("net/netfilter/nf_conntrack_acct", "1"));
    let original = stage.start(Brand::Original, "theirs", &solo(""));
    let ours = stage.ours("ours", &solo(""));
    node.within(|| churn::udp_flows(0, 50));
    node.sh("conntrack -F");
    wait_equal("the lines are the same", || records(&ours), || records(&original));
    wait_equal("all are there", || records(&ours).len() >= 50, || true);
    let traffic = |daemon: &Daemon<'_>| {
        let text = daemon.ask(&["-s"]);
        text.lines().find(|line| line.contains("Pckts")).map(str::to_owned)
    };
    wait_equal("totals are the same", || traffic(&ours), || traffic(&original));
}
