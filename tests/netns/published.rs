//! A client that asks for a daemon's state reads what its threads published, and wakes none of them.

use crate::privilege::get;
use host::control;
use std::fs;
use std::time::{Duration, Instant};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Daemon;
use tests::solo::{Solo, solo};
use tests::wait::wait_until;
use wire::control::Request;

/// How often the threads of the engine sleep when nothing happens, at most.
const SLEEP: Duration = Duration::from_millis(100);

/// How often the engine's threads have gone to sleep: voluntary_ctxt_switches of proc_pid_status(5).
fn sleeps(daemon: &Daemon<'_>) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let statuses =
        tasks.map(|task| fs::read_to_string(task.expect("a thread").path().join("status")));
    let statuses = statuses.map(|status| status.expect("proc_pid_status(5)"));
    let of_engine = |status: &String| {
        status.starts_with("Name:\tshard-") || status.starts_with("Name:\treader")
    };
    let sleeps = |status: String| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).expect("a number")
    };
    statuses.filter(of_engine).map(sleeps).sum()
}

/// Asks `times` times for this, as its client does.
fn ask(daemon: &Daemon<'_>, request: Request, times: u64) {
    for _ in 0..times {
        let mut answer = Vec::new();
        control::ask(&daemon.path("sock"), request, &mut answer).expect("it answers");
        assert!(!answer.is_empty(), "{request:?}");
    }
}

fn nobody_is_woken(general: &str, threads: u32) {
    const TIMES: u64 = 200;
    let stage = Solo::new();
    let metrics = "Metrics {\n Listen 127.0.0.1:10466\n}\n";
    let daemon = stage.ours("a", &(solo(general) + metrics));
    Requests::open(&stage.node).create(&udp_flows(0..100));
    wait_until("it knows the flows", || daemon.internal().len() == 100);
    for request in [Request::Stats, Request::StatsJson, Request::Ready] {
        // What others do on this machine only makes it take longer, and sleeps longer.
        let (began, before) = (Instant::now(), sleeps(&daemon));
        ask(&daemon, request, TIMES);
        for path in ["/metrics", "/ready", "/-/healthy"] {
            assert!(!get(&stage, path).is_empty(), "{path}");
        }
        let slept = sleeps(&daemon) - before;
        let by_themselves = threads * (began.elapsed().as_millis() / SLEEP.as_millis()) as u32;
        // One more each, and what they had begun before.
        let most = u64::from(by_themselves + threads * 5);
        assert!(slept < most + TIMES / 4, "{request:?}: {slept} sleeps, {most} without questions");
    }
}

#[test]
fn whoever_asks_wakes_no_thread_of_one_shard() {
    nobody_is_woken("", 1);
}

#[test]
fn whoever_asks_wakes_neither_reader_nor_shards() {
    nobody_is_woken("Shards 3", 4);
}

/// A shard sleeps while the kernel refuses events, and nothing wakes it.
#[test]
fn what_the_kernel_counts_meanwhile_is_published_by_a_shard_that_sleeps() {
    let stage = Solo::new();
    let filter = "Filter From Kernelspace { Address Ignore { IPv4_address 100.0.0.0/8 } }";
    let daemon = stage.ours("a", &solo(&format!("EventSource tap\n {filter}")));
    Requests::open(&stage.node).create(&udp_flows(0..50));
    wait_until("what was filtered is told", || {
        // The client that tests use has the daemon publish, so this request goes past it.
        let mut answer = Vec::new();
        control::ask(&daemon.path("sock"), Request::StatsJson, &mut answer).expect("it answers");
        let status: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        status["events"]["filtered"] == 50
    });
}
