//! Several shards share the flows: to every client, they are one daemon.

use std::collections::BTreeSet;
use std::fs;
use tests::conntrack;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};

const SHARDS: usize = 4;
const FLOWS: u32 = 20_000;

fn conf(general: &str) -> String {
    solo(&format!("Shards {SHARDS}\n {general}"))
}

/// Sources in the kernel's table and in the daemon's. Every flow of these tests has its own.
fn sources(stage: &Solo, daemon: &Daemon<'_>) -> [BTreeSet<String>; 2] {
    let lines = [conntrack::lines(&stage.node), daemon.internal()];
    lines.map(|lines| {
        let sources = conntrack::sources(&lines);
        assert_eq!(sources.len(), lines.len(), "nothing is there twice");
        sources
    })
}

fn is_equal(stage: &Solo, daemon: &Daemon<'_>) -> bool {
    let [kernel, ours] = sources(stage, daemon);
    kernel == ours
}

/// Flows that were there before, begin, change and end, many of them at once.
fn churn(stage: &Solo) {
    std::thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || {
                let mut requests = Requests::open(&stage.node);
                for round in 0..20 {
                    let first = 100_000 + part * 50_000 + round * 1000;
                    let flows = udp_flows(first..first + 1000);
                    requests.create(&flows);
                    requests.update(&flows);
                    // Some end at once and begin again, some stay.
                    requests.delete(&flows[..600]);
                    requests.create(&flows[..300]);
                }
            });
        }
    });
}

fn ends_equal(general: &str) {
    let stage = Solo::new();
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    let daemon = stage.ours("a", &conf(general));
    wait_until("all have read the table", || daemon.status()["work"]["state"] == "exact");
    assert_eq!(daemon.internal().len(), FLOWS as usize);
    churn(&stage);
    wait_until("the shards' tables together are the kernel's", || is_equal(&stage, &daemon));
    assert_eq!(daemon.stat(&["-s"], "current active connections:"), u64::from(FLOWS) + 28_000);
    assert_eq!(
        daemon.status()["work"]["state"],
        "exact",
        "nothing was lost that a repair might hide"
    );
    assert_eq!(daemon.stat(&["-s", "runtime"], "lost:"), 0);
    // The end of what each of them holds.
    Requests::open(&stage.node).delete(&udp_flows(0..FLOWS));
    wait_until("ends reach the right shard", || is_equal(&stage, &daemon));
}

#[test]
fn with_the_tap_the_tables_together_are_the_kernels() {
    ends_equal("EventSource tap");
}

#[test]
fn with_netlink_the_tables_together_are_the_kernels() {
    ends_equal("EventSource netlink\n NetlinkBufferSize 67108864");
}

#[test]
fn lost_events_are_made_good_by_each_shard_for_its_part() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf("EventSource netlink\n NetlinkBufferSize 4096"));
    daemon.freeze();
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    Requests::open(&stage.node).delete(&udp_flows(0..FLOWS / 2));
    daemon.signal(rustix::process::Signal::CONT);
    wait_until("the tables are equal again", || is_equal(&stage, &daemon));
    wait_until("the table is exact again", || daemon.status()["work"]["state"] == "exact");
    assert!(daemon.stat(&["-s", "runtime"], "lost:") > 0, "the flood was one");
    daemon.wait_to_say("kernel events lost: the event socket was full");
}

#[test]
fn threads_are_bound_each_to_a_cpu() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf(""));
    let tasks = format!("/proc/{}/task", daemon.pid());
    let mut bound = Vec::new();
    for task in fs::read_dir(tasks).expect("threads").flatten() {
        let name = fs::read_to_string(task.path().join("comm")).expect("a name");
        let status = fs::read_to_string(task.path().join("status")).expect("a status");
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cpus = cpus.expect("a list of CPUs").trim().to_owned();
        if name.starts_with("shard-") || name.trim() == "reader" {
            assert!(cpus.parse::<usize>().is_ok(), "{name} may run on {cpus}");
            bound.push(cpus);
        }
    }
    assert_eq!(bound.len(), SHARDS + 1);
    let online = std::thread::available_parallelism().map_or(1, Into::into);
    let distinct: BTreeSet<_> = bound.into_iter().collect();
    assert_eq!(distinct.len(), online.min(SHARDS + 1), "they are spread out");
}

#[test]
fn every_thread_is_scheduled_as_the_configuration_says_from_the_start() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf("Scheduler { Type FIFO\n Priority 7 }"));
    for (thread, who) in [("reader", "reader"), ("shard-0", "engine"), ("shard-3", "engine")] {
        let refused = format!("[warning] cannot schedule the {who} as Fifo(7)");
        wait_until("it is so, or a warning", || {
            daemon.scheduling(thread).as_deref() == Some("1/7") || daemon.log().contains(&refused)
        });
    }
}

#[test]
fn verbs_work_as_with_one_shard() {
    let stage = Solo::new();
    let daemon = stage.ours("a", &conf(""));
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..5000));
    wait_equal("the flows are known", || daemon.internal().len(), || 5000);
    assert!(
        daemon
            .ask(&["-s"])
            .starts_with("cache stats:\ncurrent active connections:\t        5000\n")
    );
    assert!(daemon.ask(&["-s", "runtime"]).contains("daemon uptime"));
    assert_eq!(daemon.status()["local"]["flows"], 5000);
    assert_eq!(daemon.ask(&["-i", "-x"]).lines().count(), 5000);
    daemon.ask(&["-f", "internal"]);
    assert_eq!(daemon.ask(&["-i"]), "");
    daemon.ask(&["-R"]);
    assert_eq!(daemon.internal().len(), 5000);
    requests.delete(&udp_flows(0..100));
    wait_until("ended flows are lines", || daemon.file("records").lines().count() == 100);
    daemon.ask(&["-F"]);
    assert_eq!(conntrack::count(&stage.node), 0);
    wait_equal("the table is empty", || daemon.internal().len(), || 0);
    wait_equal("each ended flow is a line", || daemon.file("records").lines().count(), || 5000);
}

#[test]
fn a_reload_reaches_every_shard_and_the_kernels_filter() {
    let stage = Solo::new();
    let filter = "Filter From Kernelspace { Address Ignore { IPv4_address 100.0.0.0/22 } }";
    let mut daemon = stage.ours("a", &conf("EventSource tap"));
    let mut requests = Requests::open(&stage.node);
    requests.create(&udp_flows(0..2000));
    wait_equal("the flows are known", || daemon.internal().len(), || 2000);
    stage.write("a", &conf(&format!("EventSource tap\n {filter}")));
    daemon.signal(rustix::process::Signal::HUP);
    wait_until("it was read", || daemon.log().contains("the configuration was read again"));
    wait_equal("refused flows are gone", || daemon.internal().len(), || 2000 - 1024);
    let filtered = || daemon.stat(&["-s", "runtime"], "filtered in the kernel:");
    let before = filtered();
    requests.delete(&udp_flows(0..1024));
    wait_equal("the kernel filters", filtered, || before + 1024);
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait_for_end().success(), "{}", daemon.log());
}
