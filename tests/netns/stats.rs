//! Statistics mode: a line per flow that has ended, none lost, and no peer.

use std::fs;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Brand;
use tests::netns::{Namespace, sysctl};
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};

const FLOWS: u32 = 20;

fn flows_end(node: &Namespace, numbers: std::ops::Range<u32>) {
    let mut requests = Requests::open(node);
    requests.create(&udp_flows(numbers.clone()));
    requests.delete(&udp_flows(numbers));
}

#[test]
fn every_ended_flow_is_a_line_with_its_time() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    flows_end(&stage.node, 0..FLOWS);
    wait_until("the lines are there", || daemon.file("records").lines().count() == 20);
    let first = daemon.file("records").lines().next().map(str::to_owned).expect("a line");
    let (time, entry) = first.split_once('\t').expect("a tabulator");
    assert_eq!(time.split_whitespace().count(), 5, "{first}");
    assert_eq!(
        entry,
        "udp      17 src=100.0.0.0 dst=2.2.2.2 sport=1000 dport=53 [UNREPLIED] src=2.2.2.2 \
         dst=100.0.0.0 sport=53 dport=1000"
    );
}

#[test]
fn the_filter_keeps_flows_out() {
    let stage = Solo::new();
    let filter = "Filter From Kernelspace { Address Ignore { IPv4_address 100.0.0.0/28 } }";
    let daemon = stage.ours("a", &solo(filter));
    daemon.wait_to_say("using kernel-space event filtering");
    flows_end(&stage.node, 0..FLOWS);
    wait_until("the lines are there", || daemon.file("records").lines().count() == 4);
    assert_eq!(daemon.ask(&["-i"]), "");
}

#[test]
fn the_verbs_of_statistics_mode_work_and_the_others_do_nothing_with_success() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    wait_until("the flows are known", || daemon.internal().len() == 20);
    let general = daemon.ask(&["-s"]);
    let expected = "cache stats:\ncurrent active connections:\t          20\n";
    assert!(general.starts_with(expected), "{general}");
    assert!(general.contains("traffic processed:") && !general.contains("message tracking"));
    assert!(daemon.ask(&["-s", "cache"]).starts_with("cache:stats\tactive objects:"));
    assert!(daemon.ask(&["-s", "runtime"]).contains("daemon uptime"));
    daemon.ask(&["-f", "internal"]);
    assert_eq!(daemon.ask(&["-i"]), "");
    daemon.ask(&["-R"]);
    assert_eq!(daemon.internal().len(), 20);
    for line in ["-e", "-c", "-B", "-n", "-t", "-s network", "-s link", "-s queue", "-s rsqueue"] {
        let output = daemon.try_ask(&line.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
        let note = if line.starts_with("-s") { "" } else { "no other node in statistics mode" };
        assert!(said.contains(note), "{line}: {said}");
        assert_eq!(said.is_empty(), note.is_empty(), "{line}: {said}");
    }
}

#[test]
fn upstream_defect_31_flush_without_a_word_empties_the_table() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    wait_until("the flows are known", || daemon.internal().len() == 20);
    daemon.ask(&["-f"]);
    assert_eq!(daemon.ask(&["-i"]), "");
}

#[test]
fn flows_that_were_flushed_from_the_table_are_lines_too_when_they_end() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(""));
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    wait_until("the flows are known", || daemon.internal().len() == 20);
    daemon.ask(&["-f"]);
    Requests::open(&stage.node).delete(&udp_flows(0..FLOWS));
    wait_until("the lines are there", || daemon.file("records").lines().count() == 20);
}

#[test]
fn without_sync_and_stats_it_keeps_statistics_and_says_so() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo("").replace("Stats { LogFile @.records\n }", ""));
    daemon.wait_to_say("neither `Sync` nor `Stats` is given");
    assert!(daemon.ask(&["-s"]).starts_with("cache stats:"));
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_says_so_when_there_is_room_again() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo("").replace("@.records", "/dev/full"));
    flows_end(&stage.node, 0..FLOWS);
    let ended = || daemon.ask(&["-s"]).contains("connections destroyed:\t\t          20\t");
    wait_until("the engine goes on", ended);
    stage.write("a", &solo(""));
    daemon.signal(rustix::process::Signal::HUP);
    let place = daemon.path("records");
    wait_until("another file is opened", || place.exists());
    flows_end(&stage.node, 100..101);
    let logged = || daemon.log().contains("[warning] 20 lines of the statistics log were lost");
    wait_until("the loss is logged", logged);
    assert_eq!(fs::read_to_string(&place).expect("a log").lines().count(), 1);
}

/// Lets the daemon sleep while more flows begin and end than its buffers hold.
fn flood(general: &str) {
    const MANY: u32 = 30_000;
    let stage = Solo::new();
    let daemon = stage.ours("a", &solo(general));
    daemon.freeze();
    flows_end(&stage.node, 0..MANY);
    daemon.signal(rustix::process::Signal::CONT);
    let count = || daemon.file("records").lines().count();
    wait_equal("each flow is a line", count, || MANY as usize);
    let lines = daemon.file("records");
    let mut sources: Vec<_> =
        lines.lines().map(|line| line.split(' ').find(|word| word.starts_with("src="))).collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), MANY as usize, "each flow is one line");
    daemon.wait_to_say("kernel events held back");
}

#[test]
fn reliable_events_survive_a_flood_through_netlink() {
    flood("NetlinkEventsReliable on\n NetlinkOverrunResync off\n EventSource netlink");
}

#[test]
fn reliable_events_survive_a_flood_through_the_tap() {
    flood("NetlinkEventsReliable on\n NetlinkOverrunResync off\n EventSource tap");
}

#[test]
fn polling_finds_flows_that_began_and_flows_that_ended() {
    let stage = Solo::new();
    stage.node.within(|| sysctl("net/netfilter/nf_conntrack_events", "0"));
    let daemon = stage.ours("a", &solo("PollSecs 1"));
    daemon.wait_to_say("running in polling mode");
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    wait_until("they are found", || daemon.internal().len() == 20);
    Requests::open(&stage.node).delete(&udp_flows(0..5));
    wait_until("they are missed", || daemon.internal().len() == 15);
    wait_until("each is a line", || daemon.file("records").lines().count() == 5);
    assert_eq!(Brand::Ours, daemon.brand());
}
