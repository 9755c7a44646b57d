//! A daemon whose clock is not the kernel's: a container may be in a time namespace (time_namespaces(7)).

use std::fs;
use std::process::Command;
use tests::churn;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::solo::{Solo, solo};
use tests::wait::wait_until;

/// Seconds since the machine started.
fn uptime_s() -> i64 {
    let text = fs::read_to_string("/proc/uptime").expect("proc has it");
    let whole = text.split('.').next().and_then(|seconds| seconds.parse().ok());
    whole.expect("seconds")
}

/// Starts ours with its monotonic clock that many seconds ahead of the kernel's.
fn start<'a>(stage: &'a Solo, source: &str, ahead_s: i64) -> Daemon<'a> {
    stage.write("a", &solo(&format!("EventSource {source}")));
    let mut command = Command::new("unshare");
    command.args(["-T", "--monotonic"]).arg(ahead_s.to_string()).arg(Brand::Ours.program());
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/time")).expect("it runs");
    assert_ne!(namespace(&daemon.pid().to_string()), namespace("self"));
    assert_eq!(daemon.status()["events"]["source"].as_str(), Some(source));
    daemon
}

#[test]
fn in_a_time_namespace_events_are_heard_at_once_and_in_order() {
    // As far behind as a clock can be, but for a second, and far ahead.
    for ahead_s in [1 - uptime_s(), 1_000_000] {
        for source in ["tap", "hook"] {
            let stage = Solo::new();
            stage.node.nft("table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }");
            let a = start(&stage, source, ahead_s);
            stage.node.within(|| churn::udp_flows(0, 300));
            wait_until("flows are heard", || a.internal().len() == 300);
            if source == "tap" {
                let mut requests = Requests::open(&stage.node);
                requests.create(&udp_flows(0..100));
                requests.delete(&udp_flows(0..50));
                wait_until("what began and ended is heard", || a.internal().len() == 350);
            }
            stage.node.sh("conntrack -F");
            wait_until("ends are heard", || a.internal().is_empty());
            let events = a.status()["events"].clone();
            assert_eq!((&events["lost"], &events["table_readings"]), (&0.into(), &1.into()));
            let p50 = events["latency_p50_us"].as_u64().expect("a number");
            assert!(p50 < 50_000_000, "an event waited {p50} microseconds");
        }
    }
}
